//! Measurements as the text that Prometheus reads (exposition format 0.0.4): pure.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// What the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of an answer of `rpc/metrics`. What is no measurement is left out.
pub fn text(answer: &Value) -> String {
    let mut text = String::new();
    for family in answer["families"].as_array().into_iter().flatten() {
        let word = |name: &str| family[name].as_str().unwrap_or_default();
        let (name, kind, help) = (word("name"), word("kind"), word("help"));
        // A `String` takes everything that is written to it.
        writeln!(text, "# HELP {name} {}", escaped(help, false)).ok();
        writeln!(text, "# TYPE {name} {kind}").ok();
        for sample in family["samples"].as_array().into_iter().flatten() {
            let labels = sample["labels"].as_object().map(labels).unwrap_or_default();
            writeln!(text, "{name}{labels} {}", sample["value"]).ok();
        }
    }
    text
}

fn labels(labels: &Map<String, Value>) -> String {
    let pairs = labels.iter().map(|(name, value)| {
        format!("{name}=\"{}\"", escaped(value.as_str().unwrap_or_default(), true))
    });
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn escaped(text: &str, quoted: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quoted { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn families_labels_and_what_has_to_be_escaped() {
        let answer = json!({"families": [
            {"name": "a_total", "kind": "counter", "help": "All\nof them",
             "samples": [{"labels": {}, "value": 3}]},
            {"name": "b", "kind": "gauge", "help": "Each \"one\"",
             "samples": [{"labels": {"plugin": "x\"\\\n", "state": "ready"}, "value": 0.5}]},
        ]});
        let expected = "# HELP a_total All\\nof them\n# TYPE a_total counter\na_total 3\n\
            # HELP b Each \"one\"\n# TYPE b gauge\nb{plugin=\"x\\\"\\\\\\n\",state=\"ready\"} 0.5\n";
        assert_eq!(text(&answer), expected);
    }

    #[test]
    fn what_is_no_measurement_is_no_text() {
        for odd in [json!(null), json!({"families": 3}), json!([])] {
            assert_eq!(text(&odd), "");
        }
    }
}
