//! `sysadm/lifepreserver` and `sysadm/zfs` as classic SysAdm clients know them.
//!
//! Every value is a string, numbers in a request read as empty strings, and an error is a success
//! whose object is `{"<action>": {"error": "…"}}`. The words are the original server's. Datasets
//! may be named by id, by ZFS name or by path, and "pools" are also btrfs file systems and
//! directories, so that the old pages work on a machine without ZFS.

use sdk::{Context, Fault, Request, Value, json};
use serde_json::Map;

use super::engine::{self, Engine};
use super::faults;
use crate::backend::{Dataset, NewSnapshot, Owner, Pool};

/// The label of a snapshot a classic client took.
const LABEL: &str = "classic";

/// An action's object, or the text for its `error`.
type Outcome = Result<Value, String>;

/// `sysadm/lifepreserver`.
pub(super) fn life_preserver(
    engine: &Engine,
    ctx: &Context,
    request: &Request,
) -> Result<Value, Fault> {
    match request.action() {
        Some("createsnap") => Ok(answer("createsnap", create(engine, ctx, &request.args))),
        Some("listsnap") => Ok(answer("listsnap", list(engine, ctx, &request.args))),
        Some("removesnap") => Ok(answer("removesnap", remove(engine, ctx, &request.args))),
        _ => Err(unknown_action(request, "createsnap, listsnap, removesnap")),
    }
}

/// `sysadm/zfs`.
pub(super) fn zfs(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    match request.action() {
        Some("list_pools") => Ok(list_pools(engine)),
        Some("datasets") => Ok(answer("datasets", datasets(engine, ctx, &request.args))),
        _ => Err(unknown_action(request, "list_pools, datasets")),
    }
}

fn create(engine: &Engine, ctx: &Context, args: &Value) -> Outcome {
    let (dataset, name) = both(args)?;
    let found =
        engine.find_or_register(dataset).map_err(|e| said(&faults::of(ctx, dataset, &e)))?;
    let comment = text(args, "comment");
    let new = NewSnapshot {
        label: LABEL.to_owned(),
        name: Some(name.to_owned()),
        comment: comment.filter(|comment| !comment.is_empty()).map(str::to_owned),
        mark: None,
        recursive: false,
        at: engine::now(),
    };
    engine.create(ctx, &found, &new).map_err(|fault| said(&fault))?;
    let mut echo = json!({ "dataset": dataset, "snap": name });
    if let (Some(echo), Some(comment)) = (echo.as_object_mut(), comment) {
        echo.insert("comment".to_owned(), json!(comment));
    }
    Ok(echo)
}

fn list(engine: &Engine, ctx: &Context, args: &Value) -> Outcome {
    let pool = text(args, "pool").ok_or("Missing pool key")?;
    let Ok(dataset) = engine.find(pool) else { return Ok(json!({})) };
    let found = engine.list(&dataset).map_err(|e| said(&faults::of(ctx, pool, &e)))?;
    let row = |name: &str, comment: Option<&str>| {
        (format!("{}@{name}", dataset.name), json!({ "comment": comment.unwrap_or_default() }))
    };
    let rows: Map<String, Value> =
        found.iter().map(|one| row(&one.name, one.comment.as_deref())).collect();
    Ok(Value::Object(rows))
}

fn remove(engine: &Engine, ctx: &Context, args: &Value) -> Outcome {
    let (dataset, name) = both(args)?;
    let failed = |error| said(&faults::of(ctx, dataset, &error));
    let found = engine.find(dataset).map_err(failed)?;
    let mut named = engine.list(&found).map_err(failed)?;
    named.retain(|snapshot| snapshot.name == name);
    // Somebody else's snapshot elsewhere on a btrfs may have the same last name: ours is meant.
    named.sort_by_key(|snapshot| snapshot.owner == Owner::Foreign);
    let Some(snapshot) = named.first() else {
        return Err(format!("ERROR: There is no snapshot {name} of {dataset}."));
    };
    engine.destroy(ctx, &snapshot.id).map_err(|fault| said(&fault))?;
    Ok(json!({ "dataset": dataset, "snap": name }))
}

fn list_pools(engine: &Engine) -> Value {
    let (pools, _problems) = engine.pools();
    let rows: Map<String, Value> = pools.iter().map(|p| (p.name.clone(), pool_row(p))).collect();
    // The original leaves the member out when there is no pool.
    if rows.is_empty() { json!({}) } else { json!({ "list_pools": rows }) }
}

fn datasets(engine: &Engine, ctx: &Context, args: &Value) -> Outcome {
    let pool = args.get("zpool").ok_or("Requires zpool keys")?;
    let pool = pool.as_str().filter(|pool| !pool.is_empty()).ok_or("Empty zpool name")?;
    let (all, mut problems) = engine.datasets();
    let by_id = all.iter().find(|dataset| dataset.id.as_str() == pool);
    let name = by_id.map_or(pool, |dataset| dataset.pool.as_str());
    let rows: Map<String, Value> = all
        .iter()
        .filter(|dataset| dataset.pool == name)
        .map(|dataset| (dataset.name.clone(), dataset_row(dataset)))
        .collect();
    match (rows.is_empty(), problems.pop()) {
        (true, Some((_, error))) => Err(said(&faults::of(ctx, pool, &error))),
        (true, None) => Err(format!("cannot open '{pool}': dataset does not exist")),
        (false, _) => Ok(Value::Object(rows)),
    }
}

fn pool_row(pool: &Pool) -> Value {
    let capacity = pool.allocated.saturating_mul(100).checked_div(pool.size).unwrap_or(0);
    let column = |name: &str| pool.columns.get(name).map_or("-", String::as_str);
    json!({
        "alloc": human(pool.allocated),
        "altroot": column("altroot"),
        "capacity": format!("{capacity}%"),
        "dedup": column("dedup"),
        "expandsz": column("expandsz"),
        "frag": column("frag"),
        "free": human(pool.free),
        "health": pool.health,
        "size": human(pool.size),
    })
}

fn dataset_row(dataset: &Dataset) -> Value {
    let figure = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), human);
    let mount = dataset.mount.as_ref().map(|path| path.to_string_lossy().into_owned());
    json!({
        "used": figure(dataset.used),
        "avail": figure(dataset.available),
        "refer": figure(dataset.referenced),
        "mountpoint": mount.unwrap_or_else(|| "none".to_owned()),
    })
}

/// The keys `dataset` and `snap`, neither of them empty.
fn both(args: &Value) -> Result<(&str, &str), String> {
    match (text(args, "dataset"), text(args, "snap")) {
        (Some(dataset), Some(snap)) if !dataset.is_empty() && !snap.is_empty() => {
            Ok((dataset, snap))
        }
        _ => Err("Requires dataset and snap keys".to_owned()),
    }
}

/// A key's text; what is not text reads as empty, as in the original.
fn text<'a>(args: &'a Value, key: &str) -> Option<&'a str> {
    args.get(key).map(|value| value.as_str().unwrap_or_default())
}

fn answer(action: &str, outcome: Outcome) -> Value {
    match outcome {
        Ok(object) => json!({ action: object }),
        Err(error) => json!({ action: { "error": error } }),
    }
}

/// A fault in the form of the original's tool.
fn said(fault: &Fault) -> String {
    format!("ERROR: {}", fault.message)
}

fn unknown_action(request: &Request, known: &str) -> Fault {
    Fault::bad_request(format!("{} has no such action", request.method()))
        .with_hint(format!("`action` is one of {known}"))
}

/// Bytes as ZFS prints them: three digits and a unit, such as `1.98G`, `25.4M`, `112K` or `0`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let unit = usize::try_from(bytes.checked_ilog2().unwrap_or(0) / 10).unwrap_or(0);
    let suffix = UNITS.get(unit).copied().unwrap_or_default();
    let one = 1_u128 << (10 * unit);
    let whole = u128::from(bytes) / one;
    let places = match whole {
        _ if unit == 0 || u128::from(bytes) % one == 0 => 0,
        0..=9 => 2,
        10..=99 => 1,
        _ => 0,
    };
    let scale = 10_u128.pow(places);
    let rounded = (u128::from(bytes) * scale + one / 2) / one;
    let (number, fraction) = (rounded / scale, rounded % scale);
    let width = usize::try_from(places).unwrap_or(0);
    if places == 0 {
        format!("{number}{suffix}")
    } else {
        format!("{number}.{fraction:0width$}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_look_as_zfs_prints_them() {
        for (bytes, shown) in [
            (0, "0"),
            (999, "999"),
            (1024, "1K"),
            (114_688, "112K"),
            (26_633_830, "25.4M"),
            (2_126_008_811, "1.98G"),
            (3 << 40, "3T"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(human(bytes), shown);
        }
    }

    #[test]
    fn numbers_read_as_empty_and_missing_keys_are_named() {
        assert_eq!(both(&json!({"dataset": "tank", "snap": "a"})), Ok(("tank", "a")));
        for args in [json!({}), json!({"dataset": "tank"}), json!({"dataset": "tank", "snap": 10})]
        {
            assert_eq!(both(&args).unwrap_err(), "Requires dataset and snap keys");
        }
    }
}
