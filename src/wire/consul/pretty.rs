//! JSON for people: four spaces for each level, as Go indents it.

/// Indents JSON that was written without spaces, and ends it with a line end.
pub fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for (at, &byte) in json.iter().enumerate() {
        if in_text {
            out.push(byte);
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        let next = json.get(at + 1);
        let before = at.checked_sub(1).and_then(|at| json.get(at));
        match byte {
            b'[' | b'{' => {
                out.push(byte);
                depth += 1;
                if !matches!(next, Some(b']' | b'}')) {
                    line(&mut out, depth);
                }
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if !matches!(before, Some(b'[' | b'{')) {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                in_text = byte == b'"';
                out.push(byte);
            }
        }
    }
    out.push(b'\n');
    out
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + 4 * depth, b' ');
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn it_is_indented_by_four_and_says_the_same() {
        let json = br#"[{"a":"x,[\"{:","b":null,"c":[]},{},"\\"]"#;
        let text = String::from_utf8(pretty(json)).unwrap();
        let expected = "[\n    {\n        \"a\": \"x,[\\\"{:\",\n        \"b\": null,\n        \
                        \"c\": []\n    },\n    {},\n    \"\\\\\"\n]\n";
        assert_eq!(text, expected);
        let same = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
        assert_eq!(same(text.as_bytes()), same(json));
        assert_eq!(pretty(b"[]"), b"[]\n");
    }
}
