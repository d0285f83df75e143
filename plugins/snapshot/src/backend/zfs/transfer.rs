//! What replication needs of ZFS: every snapshot below a dataset with its GUID, holds, and the
//! commands that send and receive one.
//!
//! Uses only what zfs-fuse understands, too. Nothing is ever received with `-F`, and nothing is
//! destroyed here.

use std::process::Command;

use super::super::error::{Error, Result};
use super::{DatasetId, expect, find, parse, tool};

/// One snapshot, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The dataset's name.
    pub dataset: String,
    /// Its own name, behind the `@`.
    pub name: String,
    /// What it is known by on every machine.
    pub guid: String,
    /// Its transaction group: the order of a dataset's snapshots.
    pub order: u64,
}

/// A dataset and where it says that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// The dataset that it is a copy of, when it says so itself.
    pub origin: Option<String>,
}

/// The user property that says what a dataset is a copy of.
const ORIGIN: &str = "org.sysadm:origin";

/// The name a dataset has now.
pub fn name_of(id: &DatasetId) -> Result<String> {
    Ok(find(id)?.name)
}

/// Every dataset at or below `root`, and all their snapshots, oldest first within each.
pub fn below(root: &str) -> Result<(Vec<Place>, Vec<Facts>)> {
    let what = format!("list what is in {root}");
    let asked = format!("guid,createtxg,{ORIGIN}");
    let get = ["get", "-Hp", "-r", "-o", "name,property,value,source", &asked, root];
    let answer = expect(tool("zfs")?.run(&get)?, &what)?;
    let (mut places, mut snapshots) = (Vec::new(), Vec::new());
    for (full, properties) in parse::properties(&answer)? {
        let value = |name: &str| properties.get(name).map(|(value, _)| value.as_str());
        let Some((dataset, name)) = full.split_once('@') else {
            let own = properties.get(ORIGIN).filter(|(_, source)| super::is_own(source));
            places.push(Place { name: full, origin: own.map(|(value, _)| value.clone()) });
            continue;
        };
        let order = value("createtxg").and_then(|order| order.parse().ok());
        let (Some(guid), Some(order)) = (value("guid"), order) else {
            return Err(Error::failed(format!("ZFS did not tell all about {full}.")));
        };
        let (dataset, name) = (dataset.to_owned(), name.to_owned());
        snapshots.push(Facts { dataset, name, guid: guid.to_owned(), order });
    }
    snapshots.sort_by(|a, b| (&a.dataset, a.order, &a.name).cmp(&(&b.dataset, b.order, &b.name)));
    Ok((places, snapshots))
}

/// The command that writes a snapshot to its standard output, as what changed since `from` or as a
/// whole.
pub fn send(from: Option<&str>, to: &str) -> Result<Command> {
    let zfs = tool("zfs")?;
    Ok(match from {
        Some(from) => zfs.command(&["send", "-i", from, to]),
        None => zfs.command(&["send", to]),
    })
}

/// The command that makes a snapshot of `dataset` of what it reads from its standard input, and
/// mounts nothing.
pub fn receive(dataset: &str) -> Result<Command> {
    Ok(tool("zfs")?.command(&["receive", "-u", dataset]))
}

/// Keeps a snapshot (`dataset@name`) from being destroyed; doing it twice is doing it once.
pub fn hold(tag: &str, full: &str) -> Result<()> {
    let answer = tool("zfs")?.run(&["hold", tag, full])?;
    if !answer.success && answer.error.contains("tag already exists") {
        return Ok(());
    }
    expect(answer, &format!("hold {full}")).map(drop)
}

/// Lets go of it; what is not held, or is gone, is no error.
pub fn release(tag: &str, full: &str) -> Result<()> {
    let answer = tool("zfs")?.run(&["release", tag, full])?;
    let gone = ["no such tag", "does not exist"];
    if !answer.success && gone.iter().any(|words| answer.error.contains(words)) {
        return Ok(());
    }
    expect(answer, &format!("release {full}")).map(drop)
}

/// Marks a received dataset as the copy of another, and has nobody write to it.
pub fn adopt(dataset: &str, origin: &str) -> Result<()> {
    for property in ["readonly=on".to_owned(), format!("{ORIGIN}={origin}")] {
        let answer = tool("zfs")?.run(&["set", &property, dataset])?;
        expect(answer, &format!("set {property} of {dataset}"))?;
    }
    Ok(())
}

/// What the tool said as an error; `what` fits "Could not …".
pub fn complaint(what: &str, text: &str) -> Error {
    parse::complaint(what, text)
}
