//! A plan as people read it: dataset by dataset, newest first, and a sentence at the end.

use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::output::{self, Style};

/// Names shown where there may be many.
pub(super) const NAMED_MAX: usize = 20;

/// Shows what is to become of each snapshot of a policy.
pub(super) async fn show(
    client: &mut Client,
    id: &str,
    only_destroy: bool,
    style: Style,
) -> Result<(), Failure> {
    let answer = whole(client, id, only_destroy).await?;
    if style.json {
        return output::value(style, &answer);
    }
    output::print(&lines(&answer, style))
}

/// The plan with all its pages.
async fn whole(client: &mut Client, id: &str, only_destroy: bool) -> Result<Value, Failure> {
    let mut question = json!({ "id": id });
    if only_destroy {
        question["only"] = json!("destroy");
    }
    let mut snapshots = Vec::new();
    let mut plan: Option<Value> = None;
    loop {
        let mut page: Value = client.call("snapshot", "prune_plan", question.clone()).await?;
        if plan.as_ref().is_some_and(|plan| *plan != page["plan"]) {
            // It changed while it was read: from the beginning.
            snapshots.clear();
            plan = None;
            if let Some(question) = question.as_object_mut() {
                question.remove("after");
            }
            continue;
        }
        plan = Some(page["plan"].clone());
        if let Value::Array(found) = page["snapshots"].take() {
            snapshots.extend(found);
        }
        let next = page["next"].take();
        if next.is_null() {
            page["snapshots"] = snapshots.into();
            return Ok(page);
        }
        question["after"] = next;
    }
}

fn lines(answer: &Value, style: Style) -> String {
    let mut text = String::new();
    let mut add = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let rows: Vec<&Value> = answer["snapshots"].as_array().into_iter().flatten().collect();
    let width = rows.iter().map(|row| output::text(&row["name"]).chars().count()).max();
    let width = width.unwrap_or(0);
    let mut dataset = &Value::Null;
    for row in &rows {
        if row["dataset"] != *dataset {
            dataset = &row["dataset"];
            add(&style.bold(&output::clean(&output::text(&row["dataset_name"]))));
        }
        let [name, why] = ["name", "why"].map(|member| output::clean(&output::text(&row[member])));
        let line = match row["keep"].as_bool() {
            Some(false) => style.bold(&format!("  - destroy  {name:width$}  {why}")),
            _ => format!("    keep     {name:width$}  {why}"),
        };
        add(line.trim_end());
    }
    for problem in answer["problems"].as_array().into_iter().flatten() {
        let [dataset, why] = ["dataset", "message"].map(|name| output::text(&problem[name]));
        add(&output::clean(&format!("! {dataset}: {why}")));
    }
    if let Some(doubt) = answer["clock_doubt"].as_str() {
        add(&output::clean(&format!("! {doubt}")));
    }
    add(&format!("{}, as plan {}", summary(answer), output::text(&answer["plan"])));
    text
}

/// A plan in one sentence.
pub(super) fn summary(plan: &Value) -> String {
    let count = |name: &str| plan[name].as_u64().unwrap_or(0);
    let more = if plan["problems"].as_array().is_some_and(|problems| !problems.is_empty()) {
        "; nothing is as long as some cannot be listed".to_owned()
    } else if plan["needs_approval"] == true {
        format!("; more than {} need approval", count("limit"))
    } else {
        String::new()
    };
    format!("{} of {} snapshots would be destroyed{more}", count("destroy"), count("owned"))
}

/// The rules of a retention in short, such as `24h 7d 4w`.
pub(super) fn rules(retention: &Value) -> String {
    let counts = [
        ("last", " last"),
        ("hourly", "h"),
        ("daily", "d"),
        ("weekly", "w"),
        ("monthly", "m"),
        ("yearly", "y"),
    ];
    let part = |(name, unit): (&str, &str)| {
        let count = retention[name].as_u64().filter(|count| *count > 0)?;
        Some(format!("{count}{unit}"))
    };
    let mut parts: Vec<String> = counts.into_iter().filter_map(part).collect();
    if let Some(age) = retention["max_age_s"].as_u64() {
        parts.push(format!("up to {} days", age / 86_400));
    }
    if parts.is_empty() { "everything".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_by_people() {
        let row = |name: &str, keep: bool, why: &str| {
            json!({
                "dataset": "tree:1", "dataset_name": "/srv", "name": name, "keep": keep,
                "why": why,
            })
        };
        let answer = json!({
            "snapshots": [row("a", false, "no rule keeps it"), row("long", true, "daily 2026\u{7}")],
            "destroy": 1, "owned": 2, "limit": 10, "needs_approval": false, "problems": [],
            "plan": "1-ab", "clock_doubt": null,
        });
        let style = Style { json: false, colour: false };
        assert_eq!(
            lines(&answer, style),
            "/srv\n  - destroy  a     no rule keeps it\n    keep     long  daily 2026\\u{7}\n\
             1 of 2 snapshots would be destroyed, as plan 1-ab\n"
        );
    }

    #[test]
    fn rules_are_said_in_short() {
        let rules_of = |retention: &Value| rules(retention);
        assert_eq!(
            rules_of(&json!({ "last": 3, "daily": 7, "max_age_s": 864_000 })),
            "3 last 7d up to 10 days"
        );
        assert_eq!(rules_of(&json!({ "daily": 0 })), "everything");
        let many = json!({ "destroy": 30, "owned": 40, "limit": 10, "needs_approval": true });
        assert!(summary(&many).ends_with("more than 10 need approval"));
    }
}
