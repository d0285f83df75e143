//! The bare disk: appends with `fdatasync`, in groups and one at a time. The floor of everything durable.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Res;
use crate::stats::{Samples, float};

/// Bytes of one record, about what an event takes.
const RECORD: usize = 300;

/// What the disk did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Synced {
    /// Records a second.
    pub(crate) rate: f64,
    /// Median microseconds of one write and its sync.
    pub(crate) p50: f64,
}

/// Appends groups of `group` records for `span`, each group followed by one `fdatasync`.
pub(crate) fn append(dir: &Path, group: u32, span: Duration) -> Res<Synced> {
    let path = dir.join("fdatasync");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let bytes = vec![b'x'; RECORD * usize::try_from(group)?];
    let mut samples = Samples::default();
    let (begin, mut records) = (Instant::now(), 0_u64);
    while begin.elapsed() < span {
        let one = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        samples.add(one.elapsed());
        records += u64::from(group);
    }
    let rate = float(records) / begin.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(Synced { rate, p50: samples.micros(500).unwrap_or_default() })
}
