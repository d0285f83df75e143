//! Snapshots of ZFS datasets, through the `zfs` and `zpool` tools.
//!
//! Knows the tools' arguments and answers, for OpenZFS and for zfs-fuse 0.7, and uses only what both
//! understand. A GUID is an identity; a snapshot is ours when it carries the user property
//! `org.sysadm:policy` itself (source `local` or `received`; an inherited one says nothing about who
//! made the snapshot).

mod command;
pub(crate) mod parse;
pub mod transfer;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::error::{Error, Result};
use super::types::{
    Capabilities, Consistency, Dataset, DatasetId, Kind, Mark, NewSnapshot, Owner, Pool, Recursion,
    Snapshot, SnapshotId, SnapshotState,
};
use super::{Backend, Witness, name};
use command::{Answer, Tool};
use parse::Property;

/// The owner mark. Its value is the policy that took the snapshot, or `manual`.
const MARK: &str = "org.sysadm:policy";
/// The moment of the policy's schedule, in seconds since 1970.
const SLOT: &str = "org.sysadm:slot";
const LABEL: &str = "org.sysadm:label";
const COMMENT: &str = "org.sysadm:comment";
/// Dataset names per command, far below the kernel's limit for an argument vector.
const BATCH: usize = 200;

/// Snapshots of all imported pools.
#[derive(Debug, Default, Clone, Copy)]
pub struct Zfs;

impl Backend for Zfs {
    fn kind(&self) -> Kind {
        Kind::Zfs
    }

    fn capabilities(&self) -> Capabilities {
        let mut found = Capabilities {
            available: false,
            reason: None,
            version: None,
            recursion: Recursion::Atomic,
            consistency: Consistency::Atomic,
            features: Vec::new(),
        };
        match probe(&mut found) {
            Ok(()) => found.available = true,
            Err(error) => found.reason = Some(error.to_string()),
        }
        found
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        const ALL: &str = "name,size,alloc,free,health,altroot,dedup,frag,expandsz";
        const OLD: &str = "name,size,alloc,free,health,altroot,dedup";
        let zpool = tool("zpool")?;
        let exact = zpool.run(&["list", "-Hp", "-o", ALL])?;
        // zfs-fuse knows neither exact figures nor the last two columns.
        let (output, columns) = if exact.success {
            (exact.output, ALL)
        } else {
            (expect(zpool.run(&["list", "-H", "-o", OLD])?, "list the pools")?, OLD)
        };
        let width = columns.split(',').count();
        output
            .lines()
            .map(|line| {
                let values: Vec<&str> = line.split('\t').collect();
                if values.len() != width {
                    return Err(Error::failed("ZFS listed its pools in an unexpected form."));
                }
                Ok(pool(&columns.split(',').zip(values).collect()))
            })
            .collect()
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        datasets()
    }

    fn list(&self, dataset: &DatasetId) -> Result<Vec<Snapshot>> {
        snapshots(&find(dataset)?)
    }

    fn create_told(
        &self,
        id: &DatasetId,
        new: &NewSnapshot,
        witness: &dyn Witness,
    ) -> Result<Vec<Snapshot>> {
        let name = name::settle(new)?;
        let all = datasets()?;
        let dataset = all.iter().find(|dataset| dataset.id == *id).ok_or_else(|| gone(id))?;
        let full = format!("{}@{name}", dataset.name);
        if witness.cancelled() {
            return Err(Error::cancelled());
        }
        // All at one instant: there is no half of it that could be told or given up.
        witness.progress("taking", (0, None), "datasets", &full);
        let args = take(&full, new);
        let answer = tool("zfs")?.run(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        expect(answer, &format!("take the snapshot {full}"))?;
        let below = format!("{}/", dataset.name);
        let children = all.iter().filter(|other| new.recursive && other.name.starts_with(&below));
        let taken: Vec<_> = std::iter::once(dataset).chain(children).collect();
        let total = u64::try_from(taken.len()).ok();
        let mut made = Vec::new();
        for (dataset, done) in taken.into_iter().zip(0..) {
            witness.progress("reading back", (done, total), "datasets", &dataset.name);
            made.extend(snapshots(dataset)?.into_iter().find(|snapshot| snapshot.name == name));
        }
        if made.first().is_none_or(|first| first.dataset != *id) {
            return Err(Error::failed(format!("{full} was taken but cannot be found again.")));
        }
        Ok(made)
    }

    fn holds(&self, id: &DatasetId) -> Result<BTreeMap<String, Vec<String>>> {
        let dataset = find(id)?;
        let columns = "name,property,value,source";
        let asked = "guid,userrefs";
        let get = ["get", "-Hp", "-r", "-d", "1", "-o", columns, asked, &dataset.name];
        let what = format!("list the holds of {}", dataset.name);
        let answer = expect(tool("zfs")?.run(&get)?, &what)?;
        let held = parse::properties(&answer)?.into_values().filter_map(|properties| {
            let value = |name: &str| properties.get(name).map(|(value, _)| value.clone());
            // Old tools cannot list the tags themselves.
            let count = value("userrefs").filter(|count| count != "0" && count != "-")?;
            Some((value("guid")?, vec![format!("{count} holds of ZFS")]))
        });
        Ok(held.collect())
    }

    fn tells_changes(&self) -> bool {
        // OpenZFS knows how much was written; zfs-fuse does not know the property at all.
        let usage = tool("zfs").and_then(|zfs| zfs.run(&["get"]));
        usage.is_ok_and(|usage| usage.error.contains("written"))
    }

    fn unchanged_since(&self, id: &DatasetId, snapshot: &Snapshot) -> Result<Option<bool>> {
        let dataset = find(id)?;
        let property = format!("written@{}", snapshot.name);
        let answer = tool("zfs")?.run(&["get", "-Hp", "-o", "value", &property, &dataset.name])?;
        // zfs-fuse does not know how much was written.
        let written = answer.output.trim().parse::<u64>().ok().filter(|_| answer.success);
        Ok(written.map(|bytes| bytes == 0))
    }

    fn destroy_told(&self, id: &SnapshotId, witness: &dyn Witness) -> Result<Snapshot> {
        let gone = || Error::not_found(format!("There is no snapshot {id} (any more)."));
        let dataset = find(&id.dataset)?;
        let snapshot = snapshots(&dataset)?.into_iter().find(|s| s.id == *id).ok_or_else(gone)?;
        if snapshot.owner == Owner::Foreign {
            return Err(Error::foreign(&snapshot.name));
        }
        let full = format!("{}@{}", dataset.name, snapshot.name);
        // The tool takes names only: ask once more whose name it is right before it is used.
        let what = format!("destroy the snapshot {full}");
        let zfs = tool("zfs")?;
        let columns = "name,property,value,source";
        let answer = zfs.run(&["get", "-Hp", "-o", columns, &format!("guid,{MARK}"), &full])?;
        let now = parse::properties(&expect(answer, &what)?)?.remove(&full).unwrap_or_default();
        if now.get("guid").map(|(guid, _)| guid) != Some(&id.identity) {
            return Err(gone());
        }
        if owner(&now) == Owner::Foreign {
            return Err(Error::foreign(&full));
        }
        if witness.cancelled() {
            return Err(Error::cancelled());
        }
        witness.progress("destroying", (0, Some(1)), "snapshots", &full);
        expect(zfs.run(&["destroy", &full])?, &what)?;
        witness.progress("destroying", (1, Some(1)), "snapshots", &full);
        Ok(snapshot)
    }
}

/// The arguments that take a snapshot of this full name.
pub fn take(full: &str, new: &NewSnapshot) -> Vec<String> {
    let mut args = vec!["snapshot".to_owned()];
    if new.recursive {
        args.push("-r".to_owned());
    }
    let mut property = |name: &str, value: &str| {
        args.extend(["-o".to_owned(), format!("{name}={value}")]);
    };
    match &new.mark {
        Some(Mark { policy, slot }) => {
            property(MARK, &policy.to_string());
            property(SLOT, &slot.timestamp().to_string());
        }
        None => property(MARK, "manual"),
    }
    property(LABEL, &new.label);
    if let Some(comment) = &new.comment {
        property(COMMENT, &URL_SAFE_NO_PAD.encode(comment));
    }
    args.push(full.to_owned());
    args
}

/// Fills in what the tools say about themselves, without touching any data.
fn probe(found: &mut Capabilities) -> Result<()> {
    let zfs = tool("zfs")?;
    let version = zfs.run(&["version"])?;
    // zfs-fuse and OpenZFS before 0.8 do not know the question.
    let version = if version.success { version.output.lines().next() } else { None };
    found.version = Some(version.unwrap_or("older than OpenZFS 0.8 (zfs-fuse)").to_owned());
    for command in ["send", "receive", "snapshot", "destroy"] {
        let usage = zfs.run(&[command])?;
        found.features.extend(parse::options(command, &usage.error));
    }
    expect(tool("zpool")?.run(&["list", "-H", "-o", "name"])?, "list the pools")?;
    Ok(())
}

fn datasets() -> Result<Vec<Dataset>> {
    let zfs = tool("zfs")?;
    let pools = expect(tool("zpool")?.run(&["list", "-H", "-o", "name,guid"])?, "list the pools")?;
    let pools: BTreeMap<&str, &str> =
        parse::rows(&pools)?.into_iter().map(|[name, guid]| (name, guid)).collect();
    let names = zfs.run(&["list", "-H", "-t", "filesystem,volume", "-o", "name"])?;
    let names = expect(names, "list the datasets")?;
    let names: Vec<&str> = names.lines().collect();
    let mut found = Vec::new();
    for batch in names.chunks(BATCH) {
        let asked = "guid,mountpoint,mounted,used,available,referenced";
        let get = ["get", "-Hp", "-o", "name,property,value,source", asked];
        let answer = zfs.run(&[&get, batch].concat())?;
        for (name, properties) in parse::properties(&expect(answer, "list the datasets")?)? {
            found.extend(dataset(name, &properties, &pools));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// What the properties of a dataset say; `None` when its pool or its GUID is not among them.
pub fn dataset(
    name: String,
    properties: &BTreeMap<String, Property>,
    pools: &BTreeMap<&str, &str>,
) -> Option<Dataset> {
    let value = |property: &str| properties.get(property).map(|(value, _)| value.as_str());
    let bytes = |property: &str| value(property).and_then(|figure| figure.parse().ok());
    let pool = name.split('/').next()?.to_owned();
    let mounted = value("mounted") == Some("yes");
    Some(Dataset {
        id: DatasetId::from_parts(Kind::Zfs, &[pools.get(pool.as_str())?, value("guid")?]),
        kind: Kind::Zfs,
        pool,
        mount: value("mountpoint").filter(|_| mounted).map(PathBuf::from),
        used: bytes("used"),
        available: bytes("available"),
        referenced: bytes("referenced"),
        name,
    })
}

fn snapshots(dataset: &Dataset) -> Result<Vec<Snapshot>> {
    let asked = format!("guid,creation,createtxg,referenced,{MARK},{SLOT},{LABEL},{COMMENT}");
    let columns = "name,property,value,source";
    let get = ["get", "-Hp", "-r", "-d", "1", "-o", columns, &asked, &dataset.name];
    let what = format!("list the snapshots of {}", dataset.name);
    let answer = expect(tool("zfs")?.run(&get)?, &what)?;
    let prefix = format!("{}@", dataset.name);
    let mut found = Vec::new();
    for (name, properties) in parse::properties(&answer)? {
        // The answer also holds the dataset itself and its children.
        let Some(name) = name.strip_prefix(&prefix) else { continue };
        found.push(
            snapshot(dataset, name, &properties).ok_or_else(|| {
                Error::failed(format!("ZFS did not tell all about {prefix}{name}."))
            })?,
        );
    }
    found.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
    Ok(found)
}

/// What the properties of a snapshot say; `None` when one that every snapshot has is missing.
pub fn snapshot(
    dataset: &Dataset,
    name: &str,
    properties: &BTreeMap<String, Property>,
) -> Option<Snapshot> {
    let value = |property: &str| properties.get(property).map(|(value, _)| value.as_str());
    let owner = owner(properties);
    let said = |property: &str| {
        let own = properties.get(property).filter(|(_, source)| is_own(source));
        own.filter(|_| owner == Owner::Ours).map(|(value, _)| value.clone())
    };
    let slot = said(SLOT).and_then(|text| DateTime::<Utc>::from_timestamp(text.parse().ok()?, 0));
    let policy = said(MARK).and_then(|text| text.parse::<Uuid>().ok());
    let comment = said(COMMENT).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    Some(Snapshot {
        id: SnapshotId { dataset: dataset.id.clone(), identity: value("guid")?.to_owned() },
        dataset: dataset.id.clone(),
        name: name.to_owned(),
        order: value("createtxg")?.parse().ok()?,
        created: DateTime::<Utc>::from_timestamp(value("creation")?.parse().ok()?, 0)?,
        owner,
        label: said(LABEL),
        comment: comment.and_then(|bytes| String::from_utf8(bytes).ok()),
        mark: policy.zip(slot).map(|(policy, slot)| Mark { policy, slot }),
        state: SnapshotState::Complete,
        consistency: Consistency::Atomic,
        size: value("referenced").and_then(|figure| figure.parse().ok()),
    })
}

fn pool(columns: &BTreeMap<&str, &str>) -> Pool {
    let value = |column: &str| columns.get(column).copied().unwrap_or("-").to_owned();
    let extra = ["altroot", "dedup", "frag", "expandsz"];
    Pool {
        name: value("name"),
        kind: Kind::Zfs,
        size: parse::bytes(&value("size")),
        allocated: parse::bytes(&value("alloc")),
        free: parse::bytes(&value("free")),
        health: value("health"),
        columns: extra.into_iter().map(|column| (column.to_owned(), value(column))).collect(),
    }
}

fn owner(properties: &BTreeMap<String, Property>) -> Owner {
    match properties.get(MARK) {
        Some((value, source)) if value != "-" && is_own(source) => Owner::Ours,
        _ => Owner::Foreign,
    }
}

fn is_own(source: &str) -> bool {
    matches!(source, "local" | "received")
}

fn find(id: &DatasetId) -> Result<Dataset> {
    datasets()?.into_iter().find(|dataset| dataset.id == *id).ok_or_else(|| gone(id))
}

fn gone(id: &DatasetId) -> Error {
    Error::not_found(format!("There is no ZFS dataset {id} (any more); is its pool imported?"))
}

fn tool(name: &str) -> Result<Tool> {
    Tool::find(name).ok_or_else(|| {
        Error::unavailable(
            "ZFS is not installed here. Install zfsutils-linux to use it \
             (directories and btrfs need nothing).",
        )
    })
}

fn expect(answer: Answer, what: &str) -> Result<String> {
    if answer.success {
        Ok(answer.output)
    } else {
        // Internal errors of old tools are on standard output.
        let text = if answer.error.trim().is_empty() { &answer.output } else { &answer.error };
        Err(parse::complaint(what, text))
    }
}
