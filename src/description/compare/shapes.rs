//! Whether one JSON Schema takes everything that another one takes.

use serde_json::{Map, Value};

/// On which side of a call a schema stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Clients send it: what was accepted must be accepted.
    Asked,
    /// Clients are told it: what comes must be among what came.
    Told,
}

/// What breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// The member, for example `args.filter.classes[]`.
    pub(super) place: String,
    /// Why, for people.
    pub(super) reason: String,
}

/// Keywords that say nothing of which values fit.
const ANNOTATIONS: [&str; 10] = [
    "title",
    "description",
    "examples",
    "deprecated",
    "default",
    "$comment",
    "readOnly",
    "writeOnly",
    "$schema",
    "$id",
];
/// Keywords that are compared one by one; of others only the same one is known to be no narrower.
const COMPARED: [&str; 16] = [
    "type",
    "enum",
    "const",
    "oneOf",
    "anyOf",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "items",
    "prefixItems",
    "properties",
    "required",
    "additionalProperties",
];

/// What breaks when this schema takes the place of that one.
pub(super) fn differences(side: Side, old: &Value, new: &Value) -> Vec<Difference> {
    let mut finder = Finder { side, found: Vec::new() };
    let root = match side {
        Side::Asked => "args",
        Side::Told => "answer",
    };
    finder.look(root, old, new);
    finder.found
}

struct Finder {
    side: Side,
    found: Vec<Difference>,
}

/// One of the kinds of values that a schema takes.
#[derive(Debug, Clone, PartialEq)]
enum Variant<'a> {
    Any,
    /// This value alone.
    Only(&'a Value),
    /// Values of this type, as far as the schema's other keywords allow.
    Typed(&'a str, &'a Map<String, Value>),
    /// Values of every type, as far as the keywords allow.
    Limited(&'a Map<String, Value>),
}

impl Finder {
    fn say(&mut self, place: &str, reason: impl Into<String>) {
        self.found.push(Difference { place: place.to_owned(), reason: reason.into() });
    }

    /// The schema that must take everything, and the one whose values it must take.
    fn sides<T>(&self, old: T, new: T) -> (T, T) {
        match self.side {
            Side::Asked => (new, old),
            Side::Told => (old, new),
        }
    }

    /// The older and the newer of them.
    fn ages<T>(&self, outer: T, inner: T) -> (T, T) {
        match self.side {
            Side::Asked => (inner, outer),
            Side::Told => (outer, inner),
        }
    }

    fn look(&mut self, place: &str, old: &Value, new: &Value) {
        if old.get("default") != new.get("default") && self.side == Side::Asked {
            self.say(place, "has another value when it is absent");
        }
        let (outer, inner) = self.sides(variants(old), variants(new));
        if outer.contains(&Variant::Any) {
            return self.members_gone(place, old, new);
        }
        // One kind on each side can be followed further down; of several only the whole is told.
        if let ([outer], [inner]) = (&outer[..], &inner[..]) {
            return self.variant(place, outer, inner);
        }
        for kind in &inner {
            let takes = |outer: &Variant<'_>| {
                let mut inside = Self { side: self.side, found: Vec::new() };
                inside.variant(place, outer, kind);
                inside.found.is_empty()
            };
            if !outer.iter().any(takes) {
                self.say(
                    place,
                    match self.side {
                        Side::Asked => format!("{} is not accepted any more", named(kind)),
                        Side::Told => format!("{} may come now", named(kind)),
                    },
                );
            }
        }
    }

    /// A schema that takes everything still promises the members it names.
    fn members_gone(&mut self, place: &str, old: &Value, new: &Value) {
        if let (Some(old), Some(new)) = (old.as_object(), new.as_object())
            && !["oneOf", "anyOf"].iter().any(|key| new.contains_key(*key))
        {
            self.gone(place, old, new);
        }
    }

    fn gone(&mut self, place: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let map =
            |of: &Map<String, Value>| of.get("additionalProperties").is_some_and(Value::is_object);
        for name in members(old).keys() {
            if !members(new).contains_key(name) && !map(new) {
                self.say(&format!("{place}.{name}"), "was removed");
            }
        }
    }

    fn variant(&mut self, place: &str, outer: &Variant<'_>, inner: &Variant<'_>) {
        match (outer, inner) {
            (Variant::Any, _) => {}
            (Variant::Only(outer), Variant::Only(inner)) if outer == inner => {}
            (Variant::Typed(kind, of), Variant::Only(value)) if is_of(kind, value) => {
                self.constant(place, of, value);
            }
            (Variant::Typed(outer, of), Variant::Typed(inner, from)) if fits(outer, inner) => {
                self.constraints(place, of, from);
            }
            (Variant::Limited(of), Variant::Limited(from) | Variant::Typed(_, from)) => {
                self.constraints(place, of, from);
            }
            _ => {
                let (was, is) = self.ages(named(outer), named(inner));
                self.say(place, format!("{was} became {is}"));
            }
        }
    }

    /// One value against what a type is limited to.
    fn constant(&mut self, place: &str, of: &Map<String, Value>, value: &Value) {
        let limits = of.keys().filter(|key| !is_annotation(key) && *key != "type");
        let number = value.as_f64();
        let length =
            value.as_str().map(|text| u64::try_from(text.chars().count()).unwrap_or(u64::MAX));
        for key in limits {
            let bound = &of[key];
            let holds = match key.as_str() {
                "minimum" => number >= bound.as_f64(),
                "maximum" => number <= bound.as_f64(),
                "minLength" => length >= bound.as_u64(),
                "maxLength" => length <= bound.as_u64(),
                _ => false,
            };
            if !holds {
                self.say(place, format!("{value} may be outside of {key} {bound}"));
            }
        }
    }

    fn constraints(&mut self, place: &str, outer: &Map<String, Value>, inner: &Map<String, Value>) {
        for key in ["minimum", "minLength", "minItems"] {
            self.bound(place, key, (outer, inner), |outer, inner| outer <= inner);
        }
        for key in ["maximum", "maxLength", "maxItems"] {
            self.bound(place, key, (outer, inner), |outer, inner| outer >= inner);
        }
        let known = |key: &&String| !is_annotation(key) && !COMPARED.contains(&key.as_str());
        for key in outer.keys().filter(known) {
            if outer.get(key) != inner.get(key) {
                self.say(place, format!("{key} is another one"));
            }
        }
        self.items(place, outer, inner);
        self.object(place, outer, inner);
    }

    /// A bound of the outer one must be one of the inner one that is as strict.
    fn bound(
        &mut self,
        place: &str,
        key: &str,
        (outer, inner): (&Map<String, Value>, &Map<String, Value>),
        holds: fn(f64, f64) -> bool,
    ) {
        let number = |of: &Map<String, Value>| of.get(key).and_then(Value::as_f64);
        let Some(outer) = number(outer) else { return };
        if !number(inner).is_some_and(|inner| holds(outer, inner)) {
            let (was, is) = self.ages(Some(outer), number(inner));
            let word = |n: Option<f64>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
            self.say(place, format!("{key} was {} and is {}", word(was), word(is)));
        }
    }

    fn items(&mut self, place: &str, outer: &Map<String, Value>, inner: &Map<String, Value>) {
        let nothing = Value::Bool(true);
        let mut pair = |place: &str, outer: &Value, inner: &Value| {
            let (old, new) = self.ages(outer, inner);
            self.look(place, old, new);
        };
        let inside = format!("{place}[]");
        let of = |schema: &Map<String, Value>| schema.get("items").cloned();
        if let Some(outer) = of(outer) {
            pair(&inside, &outer, &of(inner).unwrap_or_else(|| nothing.clone()));
        }
        let places =
            |of: &Map<String, Value>| of.get("prefixItems").and_then(Value::as_array).cloned();
        for (number, outer) in places(outer).into_iter().flatten().enumerate() {
            let inner = places(inner).and_then(|items| items.get(number).cloned());
            pair(&format!("{place}[{number}]"), &outer, &inner.unwrap_or_else(|| nothing.clone()));
        }
    }

    fn object(&mut self, place: &str, outer: &Map<String, Value>, inner: &Map<String, Value>) {
        for name in required(outer).filter(|name| !required(inner).any(|it| it == *name)) {
            self.say(
                &format!("{place}.{name}"),
                match self.side {
                    Side::Asked => "must be there now",
                    Side::Told => "may be absent now",
                },
            );
        }
        let (old, new) = self.ages(outer, inner);
        self.gone(place, old, new);
        for (name, was) in members(old) {
            if let Some(is) = members(new).get(name) {
                self.look(&format!("{place}.{name}"), was, is);
            }
        }
        self.others(place, old, new);
    }

    /// Members that have no name of their own.
    fn others(&mut self, place: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let of = |schema: &Map<String, Value>| {
            schema.get("additionalProperties").cloned().unwrap_or(Value::Bool(true))
        };
        let (old, new) = (of(old), of(new));
        match (self.side, &old, &new) {
            // Members that are not known are ignored by clients, and a daemon that ignored them
            // has promised nothing of them; but it must not begin to refuse them.
            (Side::Told, Value::Bool(_), _)
            | (Side::Told, _, Value::Bool(false))
            | (Side::Asked, Value::Bool(false), _)
            | (Side::Asked, _, Value::Bool(true)) => {}
            (Side::Asked, _, Value::Bool(false)) => {
                self.say(place, "refuses members that it does not know");
            }
            (Side::Asked, Value::Bool(true), _) | (Side::Told, _, Value::Bool(true)) => {
                self.say(place, "limits its members in another way");
            }
            (_, old, new) => self.look(&format!("{place}.*"), old, new),
        }
    }
}

/// The kinds of values that a schema takes.
fn variants(schema: &Value) -> Vec<Variant<'_>> {
    let Some(members) = schema.as_object() else {
        // `false` takes nothing; absent and `true` everything.
        return if schema == &Value::Bool(false) { Vec::new() } else { vec![Variant::Any] };
    };
    if let Some(only) = members.get("const") {
        return vec![Variant::Only(only)];
    }
    if let Some(values) = members.get("enum").and_then(Value::as_array) {
        return values.iter().map(Variant::Only).collect();
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(kinds) = members.get(key).and_then(Value::as_array) {
            return kinds.iter().flat_map(variants).collect();
        }
    }
    match members.get("type") {
        Some(Value::String(one)) => vec![Variant::Typed(one, members)],
        Some(Value::Array(types)) => {
            let types = types.iter().filter_map(Value::as_str);
            types.map(|one| Variant::Typed(one, members)).collect()
        }
        _ if members.keys().all(|key| is_annotation(key)) => vec![Variant::Any],
        _ => vec![Variant::Limited(members)],
    }
}

fn named(variant: &Variant<'_>) -> String {
    match variant {
        Variant::Any | Variant::Limited(_) => "anything".to_owned(),
        Variant::Only(value) => value.to_string(),
        Variant::Typed(name, _) => (*name).to_owned(),
    }
}

fn is_annotation(key: &str) -> bool {
    ANNOTATIONS.contains(&key) || key.starts_with("x-")
}

/// Whether every value of the inner type is one of the outer type.
fn fits(outer: &str, inner: &str) -> bool {
    outer == inner || (outer, inner) == ("number", "integer")
}

fn is_of(kind: &str, value: &Value) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => kind == "number" || kind == "integer" && !number.is_f64(),
        Value::String(_) => kind == "string",
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn members(schema: &Map<String, Value>) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    schema.get("properties").and_then(Value::as_object).unwrap_or(&NONE)
}

fn required(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
