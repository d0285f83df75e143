//! Lists: which objects, and which page of them.

use serde_json::{Value, json};

use super::Refusal;
use super::route::uuid_of;

/// Objects of a page, unless more or fewer are asked for.
const LIMIT: usize = 25;
/// The most objects of a page.
const LIMIT_MAX: usize = 1_000;

/// How an object's member is compared with what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// It is this.
    Is(&'static str, String),
    /// It begins so.
    Begins(&'static str, String),
    /// The path in it leads to this uuid.
    LeadsTo(&'static str, String),
    /// A moment in it is not before, or not after.
    Since(&'static str, String),
    Until(&'static str, String),
}

/// What of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters {
    tests: Vec<Test>,
    limit: usize,
    offset: usize,
    /// Everything but the offset, for the next page.
    rest: Vec<(String, String)>,
}

impl Filters {
    /// Reads the part of a URL behind the question mark. Parameters that nobody knows are passed
    /// over, as the original does.
    ///
    /// # Errors
    /// 400 when a number is none.
    pub(super) fn read(query: &str) -> Result<Self, Refusal> {
        let mut filters = Self { tests: Vec::new(), limit: LIMIT, offset: 0, rest: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = || {
                let expected = || Refusal::new(400, format!("{name} must be a whole number"));
                value.parse::<usize>().map_err(|_| expected())
            };
            match &*name {
                "limit" => filters.limit = number()?.clamp(1, LIMIT_MAX),
                "offset" => {
                    filters.offset = number()?;
                    continue;
                }
                name => filters.tests.extend(test(name, &value)),
            }
            filters.rest.push((name.into_owned(), value.into_owned()));
        }
        Ok(filters)
    }

    fn cover(&self, object: &Value) -> bool {
        self.tests.iter().all(|test| test.holds(object))
    }

    /// Where another page of this list is.
    fn at(&self, path: &str, offset: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &self.limit.to_string());
        query.append_pair("offset", &offset.to_string());
        let others = self.rest.iter().filter(|(name, _)| name != "limit");
        query.extend_pairs(others);
        format!("{path}?{}", query.finish())
    }
}

/// What a parameter asks for; `None` when nobody knows it, or it says nothing.
fn test(name: &str, value: &str) -> Option<Test> {
    if value.is_empty() {
        return None;
    }
    let text = || value.to_owned();
    let uuid = || uuid_of(value).to_owned();
    Some(match name {
        "uuid" => Test::Is("uuid", text()),
        "uuid__startswith" => Test::Begins("uuid", text()),
        "name" => Test::Is("name", text()),
        "state" => Test::Is("state", text()),
        "stack" => Test::LeadsTo("stack", uuid()),
        "service" => Test::LeadsTo("service", uuid()),
        "node" => Test::LeadsTo("node", uuid()),
        "node_cluster" => Test::LeadsTo("node_cluster", uuid()),
        "object" => Test::LeadsTo("object", uuid()),
        "stack__name" | "service__stack__name" => Test::Is("stack_name", text()),
        "start_date__gte" => Test::Since("start_date", text()),
        "start_date__lte" => Test::Until("start_date", text()),
        "end_date__gte" => Test::Since("end_date", text()),
        "end_date__lte" => Test::Until("end_date", text()),
        _ => return None,
    })
}

impl Test {
    fn holds(&self, object: &Value) -> bool {
        let member = |name: &str| object[name].as_str();
        match self {
            Self::Is(name, wanted) => member(name) == Some(wanted),
            Self::Begins(name, wanted) => member(name).is_some_and(|it| it.starts_with(wanted)),
            Self::LeadsTo(name, wanted) => member(name).is_some_and(|it| uuid_of(it) == wanted),
            Self::Since(name, wanted) => {
                both(member(name), wanted).is_some_and(|(it, wanted)| it >= wanted)
            }
            Self::Until(name, wanted) => {
                both(member(name), wanted).is_some_and(|(it, wanted)| it <= wanted)
            }
        }
    }
}

/// Two moments as seconds; each may be written in either of this API's ways.
fn both(one: Option<&str>, other: &str) -> Option<(i64, i64)> {
    let read = |text: &str| {
        let moment = chrono::DateTime::parse_from_rfc2822(text)
            .or_else(|_| chrono::DateTime::parse_from_rfc3339(text));
        moment.ok().map(|moment| moment.timestamp())
    };
    Some((read(one?)?, read(other)?))
}

/// The page of these objects that is asked for.
pub fn envelope(path: &str, filters: &Filters, objects: Vec<Value>) -> Value {
    let objects: Vec<Value> = objects.into_iter().filter(|it| filters.cover(it)).collect();
    let (total, offset, limit) = (objects.len(), filters.offset, filters.limit);
    let end = offset.saturating_add(limit);
    let next = (end < total).then(|| filters.at(path, end));
    let previous = (offset > 0).then(|| filters.at(path, offset.saturating_sub(limit)));
    let page: Vec<Value> = objects.into_iter().skip(offset).take(limit).collect();
    json!({
        "meta": {
            "limit": limit, "offset": offset, "next": next, "previous": previous,
            "total_count": total,
        },
        "objects": page,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(query: &str, objects: &[Value]) -> Value {
        envelope("/api/app/v1/service/", &Filters::read(query).unwrap(), objects.to_vec())
    }

    #[test]
    fn what_is_asked_for_is_what_comes() {
        let web = json!({"uuid": "8e19bc92-1", "name": "web", "state": "Running",
            "stack": "/api/app/v1/stack/S/", "stack_name": "shop"});
        let db = json!({"uuid": "77aa", "name": "db", "state": "Stopped", "stack": null,
            "start_date": "Mon, 13 Oct 2014 11:01:43 +0000"});
        let all = [web, db];
        for (query, names) in [
            ("", vec!["web", "db"]),
            ("name=web", vec!["web"]),
            ("name=we", vec![]),
            ("uuid__startswith=8e19", vec!["web"]),
            ("state=Stopped", vec!["db"]),
            ("stack=/api/app/v1/stack/S/", vec!["web"]),
            ("stack=S", vec!["web"]),
            ("stack__name=shop&name=web", vec!["web"]),
            ("service__stack__name=other", vec![]),
            ("start_date__gte=Mon, 13 Oct 2014 11:01:43 %2B0000", vec!["db"]),
            ("start_date__lte=2014-10-13T11:01:42Z", vec![]),
            ("nobody_knows=this", vec!["web", "db"]),
        ] {
            let found = page(query, &all);
            let found: Vec<&str> = found["objects"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["name"].as_str().unwrap())
                .collect();
            assert_eq!(found, names, "{query}");
        }
        assert_eq!(Filters::read("limit=x").unwrap_err().status, 400);
        assert_eq!(Filters::read("offset=-1").unwrap_err().status, 400);
    }

    proptest! {
        /// A client that follows `next` gets every object once.
        #[test]
        fn following_next_leads_through_all(count in 0_usize..70, limit in 1_usize..30) {
            let all: Vec<Value> = (0..count).map(|n| json!({"name": "n", "n": n})).collect();
            let mut found = Vec::new();
            let mut query = format!("limit={limit}&name=n");
            loop {
                let page = page(&query, &all);
                prop_assert_eq!(&page["meta"]["total_count"], count);
                found.extend(page["objects"].as_array().unwrap().clone());
                let Some(next) = page["meta"]["next"].as_str() else { break };
                prop_assert!(next.starts_with("/api/"));
                query = next.split_once('?').unwrap().1.to_owned();
            }
            prop_assert_eq!(found, all);
        }
    }
}
