//! Batteries, temperatures, PCI devices, and disks that can be taken away.

use std::fs;
use std::path::Path;

use sdk::{Value, json};
use serde_json::Map;

use crate::facts::{names_in, text};
use crate::parse::mounts::{disks, table};
use crate::parse::pci;

const POWER: &str = "/sys/class/power_supply";
const PCI: &str = "/sys/bus/pci/devices";
/// Where distributions keep the names of PCI devices.
const PCI_NAMES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

pub(super) fn battery() -> Value {
    let of = |device: &str, name: &str| text(&format!("{POWER}/{device}/{name}")).trim().to_owned();
    let battery = names_in(POWER).into_iter().find(|device| {
        // Those of mice and keyboards are not the machine's.
        of(device, "type") == "Battery" && of(device, "scope") != "Device"
    });
    let Some(battery) = battery else { return json!({ "battery": "false" }) };
    let status = match of(&battery, "status").as_str() {
        "Charging" => "charging",
        "Discharging" => "offline",
        "Full" | "Not charging" => "backup",
        _ => "unknown",
    };
    let number = |name: &str| of(&battery, name).parse::<u64>().ok();
    let left = number("energy_now").zip(number("power_now"));
    let left = left.or_else(|| number("charge_now").zip(number("current_now")));
    let seconds = left.and_then(|(left, rate)| left.saturating_mul(3600).checked_div(rate));
    let seconds = seconds.filter(|_| status == "offline");
    json!({
        "battery": "true",
        "status": status,
        "level": of(&battery, "capacity"),
        "timeleft": seconds.map_or_else(|| "-1".to_owned(), |seconds| seconds.to_string()),
    })
}

/// Of every core, from the driver of the processor; else of the zones that the kernel has.
pub(super) fn temperatures() -> Value {
    let mut found = Map::new();
    for chip in names_in("/sys/class/hwmon") {
        let dir = format!("/sys/class/hwmon/{chip}");
        if !matches!(text(&format!("{dir}/name")).trim(), "coretemp" | "k10temp" | "cpu_thermal") {
            continue;
        }
        let inputs = names_in(&dir).into_iter().filter(|name| name.ends_with("_input"));
        for input in inputs.filter(|name| name.starts_with("temp")) {
            let label = text(&format!("{dir}/{}", input.replace("_input", "_label")));
            // That of the whole package is no core's.
            if !label.starts_with("Package") {
                add(&mut found, &text(&format!("{dir}/{input}")));
            }
        }
    }
    if found.is_empty() {
        let zones = names_in("/sys/class/thermal").into_iter();
        for zone in zones.filter(|name| name.starts_with("thermal_zone")) {
            add(&mut found, &text(&format!("/sys/class/thermal/{zone}/temp")));
        }
    }
    found.into()
}

fn add(found: &mut Map<String, Value>, millidegrees: &str) {
    if let Some(degrees) = degrees(millidegrees) {
        found.insert(format!("cpu{}", found.len()), degrees.into());
    }
}

/// Thousandths of a degree as `40.0C`.
fn degrees(millidegrees: &str) -> Option<String> {
    let tenths = millidegrees.trim().parse::<i64>().ok()? / 100;
    let sign = if tenths < 0 { "-" } else { "" };
    Some(format!("{sign}{}.{}C", (tenths / 10).abs(), (tenths % 10).abs()))
}

/// Every PCI device, by its place.
pub(super) fn all() -> Value {
    let list = PCI_NAMES.iter().map(|path| text(path)).find(|list| !list.is_empty());
    let list = list.unwrap_or_default();
    let row = |place: String| {
        let of = |name: &str| text(&format!("{PCI}/{place}/{name}")).trim().to_owned();
        let id = |name: &str| of(name).trim_start_matches("0x").to_owned();
        let (vendor, device) = (id("vendor"), id("device"));
        let names = pci::names(&list, &vendor, &device);
        let class = u32::from_str_radix(&id("class"), 16).unwrap_or(0);
        let driver = fs::read_link(format!("{PCI}/{place}/driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name);
        let driver = driver.map(|name| name.to_string_lossy().into_owned());
        let row = json!({
            "class": pci::class(class),
            "vendor": names.vendor.unwrap_or(format!("0x{vendor}")),
            "device": names.device.unwrap_or(format!("0x{device}")),
            "driver": driver.unwrap_or_default(),
        });
        (place, row)
    };
    names_in(PCI).into_iter().map(row).collect::<Map<_, _>>().into()
}

/// Mounted disks that can be taken away.
pub(super) fn external() -> Value {
    let mounted = disks(table(&text("/proc/self/mounts")));
    let rows = mounted.into_iter().filter_map(|mount| {
        let device = fs::canonicalize(&mount.source).ok()?;
        let device = device.file_name()?.to_string_lossy().into_owned();
        // A partition stands below its disk.
        let place = fs::canonicalize(format!("/sys/class/block/{device}")).ok()?;
        let is_removable = |dir: &Path| {
            fs::read_to_string(dir.join("removable")).is_ok_and(|text| text.trim() == "1")
        };
        let is_usb =
            place.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
        let removable = is_removable(&place) || place.parent().is_some_and(is_removable);
        (is_usb || removable).then(|| {
            let row = json!({
                "type": if is_usb { "USB" } else { "UNKNOWN" },
                "filesystem": mount.kind,
                "path": mount.target,
            });
            (mount.source, row)
        })
    });
    rows.collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_have_one_place() {
        assert_eq!(degrees("40050\n").as_deref(), Some("40.0C"));
        assert_eq!(degrees("-550").as_deref(), Some("-0.5C"));
        assert_eq!(degrees("hot"), None);
    }

    #[test]
    fn this_machine_answers_in_the_classic_shapes() {
        assert!(battery()["battery"].is_string());
        for answer in [temperatures(), all(), external()] {
            assert!(answer.is_object());
        }
        for device in all().as_object().unwrap().values() {
            assert!(device["class"].is_string() && device["vendor"].is_string(), "{device}");
        }
    }
}
