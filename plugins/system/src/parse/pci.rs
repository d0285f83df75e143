//! Names of PCI devices: `pci.ids`, the list that `lspci` uses.

/// Names for one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Who made it.
    pub vendor: Option<String>,
    /// What it is.
    pub device: Option<String>,
}

/// Looks up a vendor and a device (four hexadecimal digits each) in the text of `pci.ids`.
pub fn names(list: &str, vendor: &str, device: &str) -> Names {
    let entry = |line: &str, id: &str| {
        let name = line.strip_prefix(id)?.strip_prefix("  ")?;
        Some(name.trim().to_owned())
    };
    let mut lines = list.lines();
    let found = lines.by_ref().find_map(|line| entry(line, vendor));
    let of_vendor = found.is_some().then_some(lines).into_iter().flatten();
    let device = of_vendor
        .take_while(|line| line.starts_with(['\t', '#']) || line.is_empty())
        .find_map(|line| entry(line.strip_prefix('\t')?, device));
    Names { vendor: found, device }
}

/// The general kind of a device, from the first byte of its class (PCI Code and ID Assignment).
pub(crate) fn class(code: u32) -> &'static str {
    match code >> 16 {
        0x01 => "mass storage",
        0x02 => "network",
        0x03 => "display",
        0x04 => "multimedia",
        0x05 => "memory",
        0x06 => "bridge",
        0x07 => "simple comms",
        0x08 => "base peripheral",
        0x09 => "input device",
        0x0b => "processor",
        0x0c => "serial bus",
        0x0d => "wireless controller",
        0x10 => "encrypt/decrypt",
        0x11 => "dasp",
        0x12 => "processing accelerator",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# a comment\n8085  Nobody\n8086  Intel Corporation\n\t1237  440FX - 82441FX \
                        PMC\n\t\t1af4 1100  QEMU\n\t7000  82371SB PIIX3 ISA\n8087  Other\n\t1111  Not it\n";

    #[test]
    fn a_device_is_looked_up_among_its_vendors_only() {
        let names_of = |vendor, device| names(LIST, vendor, device);
        let found = names_of("8086", "7000");
        assert_eq!(found.vendor.as_deref(), Some("Intel Corporation"));
        assert_eq!(found.device.as_deref(), Some("82371SB PIIX3 ISA"));
        assert_eq!(names_of("8086", "1111").device, None);
        assert_eq!(names_of("ffff", "1111"), Names::default());
        assert_eq!(class(0x06_0000), "bridge");
    }
}
