//! `sysadm/network`: read only.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use sdk::{Fault, FaultKind, Request, Value, json};
use serde_json::Map;

use super::{action, flag, unknown_action};
use crate::facts::{names_in, text};

const DEVICES: &str = "/sys/class/net";

#[derive(Debug, Default)]
struct Device {
    ipv4: String,
    netmask: String,
    ipv6: String,
}

pub(crate) fn answer(request: &Request) -> Result<Value, Fault> {
    let row = match action(request).as_str() {
        "list-devices" => device_row,
        "list-settings" => settings_row,
        _ => return Err(unknown_action(request, &["list-devices", "list-settings"])),
    };
    let addresses = addresses()?;
    let routes = text("/proc/net/route");
    let none = Device::default();
    // At the top level of the answer, as in the original.
    let rows = names_in(DEVICES).into_iter().filter(|name| {
        // Besides devices there are the kernel's own switches.
        Path::new(&format!("{DEVICES}/{name}")).is_dir()
    });
    let rows = rows.map(|name| {
        let device = addresses.get(&name).unwrap_or(&none);
        let row = row(&name, device, gateway(&routes, &name).as_deref());
        (name, row)
    });
    Ok(rows.collect::<Map<_, _>>().into())
}

fn addresses() -> Result<BTreeMap<String, Device>, Fault> {
    let all = getifaddrs().map_err(|error| {
        let sentence = format!("the addresses cannot be read: {}", error.desc());
        Fault::new(FaultKind::Failed, sentence)
    })?;
    let mut devices: BTreeMap<String, Device> = BTreeMap::new();
    for one in all {
        let device = devices.entry(one.interface_name).or_default();
        let Some(address) = one.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            if device.ipv4.is_empty() {
                device.ipv4 = v4.ip().to_string();
                let mask = one.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in());
                device.netmask = mask.map(|mask| mask.ip().to_string()).unwrap_or_default();
            }
        } else if let Some(v6) = address.as_sockaddr_in6()
            && (device.ipv6.is_empty() || device.ipv6.starts_with("fe80"))
        {
            // One that is good beyond the next switch, if there is one.
            device.ipv6 = v6.ip().to_string();
        }
    }
    Ok(devices)
}

fn of(device: &str, name: &str) -> String {
    text(&format!("{DEVICES}/{device}/{name}")).trim().to_owned()
}

fn device_row(name: &str, device: &Device, _: Option<&str>) -> Value {
    let driver = std::fs::read_link(format!("{DEVICES}/{name}/device/driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name);
    let driver = driver.map(|name| name.to_string_lossy().into_owned());
    let state = of(name, "operstate");
    // The loopback device does not know whether it is up.
    let active = state == "up" || state == "unknown" && !device.ipv4.is_empty();
    json!({
        "ipv4": device.ipv4,
        "ipv6": device.ipv6,
        "netmask": device.netmask,
        "description": driver.unwrap_or_default(),
        "MAC": of(name, "address"),
        "status": state,
        "is_active": flag(active),
        "is_dhcp": flag(has_lease(name)),
        "is_wireless": flag(is_wireless(name)),
    })
}

fn settings_row(name: &str, device: &Device, gateway: Option<&str>) -> Value {
    let leased = has_lease(name);
    let fixed = |text: &str| if leased { String::new() } else { text.to_owned() };
    json!({
        "device": name,
        "associated_device": "",
        "use_dhcp": flag(leased),
        "static_ipv4": fixed(&device.ipv4),
        "static_ipv6": fixed(&device.ipv6),
        "static_netmask": fixed(&device.netmask),
        "static_gateway": fixed(gateway.unwrap_or_default()),
    })
}

fn is_wireless(name: &str) -> bool {
    ["wireless", "phy80211"].iter().any(|it| Path::new(&format!("{DEVICES}/{name}/{it}")).exists())
}

/// Whether one of the usual programs has been given an address for the device.
fn has_lease(name: &str) -> bool {
    let index = of(name, "ifindex");
    let files = [
        format!("/run/systemd/netif/leases/{index}"),
        format!("/var/lib/dhcp/dhclient.{name}.leases"),
        format!("/var/lib/dhcpcd/{name}.lease"),
    ];
    let ends = format!("-{name}.lease");
    files.iter().any(|file| std::fs::metadata(file).is_ok_and(|file| file.len() > 0))
        || names_in("/var/lib/NetworkManager").iter().any(|file| file.ends_with(&ends))
}

/// Where a device sends what is for elsewhere, from `/proc/net/route`.
pub(crate) fn gateway(routes: &str, device: &str) -> Option<String> {
    routes.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, "00000000", gateway, ..] = words[..] else { return None };
        let address = u32::from_str_radix(gateway, 16).ok().filter(|address| *address != 0)?;
        // In the order of the wire, read as a number of this machine.
        (name == device).then(|| Ipv4Addr::from(address.to_ne_bytes()).to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(action: &str) -> Value {
        let args = json!({ "action": action });
        let request = Request { namespace: "sysadm".to_owned(), name: "network".to_owned(), args };
        answer(&request).unwrap()
    }

    #[test]
    fn the_loopback_device_is_there_in_every_machine() {
        let device = &asked("list-devices")["lo"];
        assert_eq!(device["ipv4"], "127.0.0.1");
        assert_eq!(device["netmask"], "255.0.0.0");
        assert_eq!(
            (&device["is_active"], &device["is_wireless"]),
            (&json!("true"), &json!("false"))
        );
        assert_eq!(device.as_object().unwrap().len(), 9);
        assert_eq!(asked("list-settings")["lo"]["static_ipv4"], "127.0.0.1");
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_default_route_is_found() {
        let routes = "Iface\tDestination\tGateway\tFlags\neth0\t0002A8C0\t00000000\t0001\n\
                      eth0\t00000000\t0102A8C0\t0003\n";
        assert_eq!(gateway(routes, "eth0").as_deref(), Some("192.168.2.1"));
        assert_eq!(gateway(routes, "eth1"), None);
    }
}
