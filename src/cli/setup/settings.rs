//! Changes a configuration and leaves everything else in it as it is, comments too: pure.

use std::path::Path;

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::Setup;

/// What `access.groups` is where a file does not say it.
const GROUPS: [(&str, &[&str]); 3] = [
    ("admin", &["sysadmd", "sysadmd-admin", "sudo", "wheel"]),
    ("operator", &["sysadmd-operator"]),
    ("viewer", &["sysadmd-viewer"]),
];

/// The text with what was decided in it.
///
/// # Errors
/// When it is no TOML, or something else stands where a table belongs; the sentence says what.
pub(super) fn edited(text: &str, setup: &Setup) -> Result<String, String> {
    let mut file: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    if !setup.listen.is_empty() {
        let addresses: Array = setup.listen.iter().map(ToString::to_string).collect();
        file["listen"] = Item::Value(addresses.into());
    }
    if let (Some(certificate), Some(key)) = (&setup.certificate, &setup.key) {
        let tls = section(&mut file, "tls")?;
        tls.insert("certificate", path(certificate)?);
        tls.insert("key", path(key)?);
    }
    if !setup.admin_group.is_empty() {
        add_admins(section(&mut file, "access")?, &setup.admin_group)?;
    }
    Ok(file.to_string())
}

fn section<'a>(file: &'a mut DocumentMut, name: &str) -> Result<&'a mut dyn TableLike, String> {
    let section = file.entry(name).or_insert_with(|| Item::Table(Table::new()));
    section.as_table_like_mut().ok_or_else(|| format!("{name} is no table"))
}

fn path(path: &Path) -> Result<Item, String> {
    let text = path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))?;
    if !path.is_absolute() {
        return Err(format!("{text} must be an absolute path"));
    }
    Ok(Item::Value(text.into()))
}

fn add_admins(access: &mut dyn TableLike, more: &[String]) -> Result<(), String> {
    if !access.contains_key("groups") {
        access.insert("groups", Item::Value(usual_groups().into()));
    }
    let groups = access.get_mut("groups").and_then(Item::as_table_like_mut);
    let groups = groups.ok_or("access.groups is no table")?;
    if !groups.contains_key("admin") {
        groups.insert("admin", Item::Value(Array::new().into()));
    }
    let admin = groups.get_mut("admin").and_then(Item::as_array_mut);
    let admin = admin.ok_or("access.groups.admin is no list")?;
    for group in more {
        if !admin.iter().any(|known| known.as_str() == Some(group)) {
            admin.push(group);
        }
    }
    Ok(())
}

fn usual_groups() -> InlineTable {
    let list = |names: &[&str]| Value::from(names.iter().copied().collect::<Array>());
    GROUPS.iter().map(|(role, names)| (*role, list(names))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../packaging/sysadmd.toml");

    fn setup() -> Setup {
        Setup {
            listen: vec!["192.0.2.1:12150".parse().unwrap()],
            certificate: Some("/etc/ssl/a.pem".into()),
            key: Some("/etc/ssl/a.key".into()),
            admin_group: vec!["it".to_owned(), "sudo".to_owned()],
            ..Setup::default()
        }
    }

    #[test]
    fn the_shipped_file_keeps_every_comment_and_gets_what_was_decided() {
        let new = edited(SHIPPED, &setup()).unwrap();
        let missing = SHIPPED.lines().filter(|line| line.starts_with('#') && !new.contains(line));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&str>::new());
        let read: toml::Table = new.parse().unwrap();
        assert_eq!(read["listen"].as_array().unwrap()[0].as_str(), Some("192.0.2.1:12150"));
        assert_eq!(read["tls"]["certificate"].as_str(), Some("/etc/ssl/a.pem"));
        let admins = read["access"]["groups"]["admin"].as_array().unwrap();
        assert_eq!(admins.len(), 5, "one was there already: {admins:?}");
        assert_eq!(edited(&new, &setup()).unwrap(), new, "twice is as once");
    }

    #[test]
    fn a_file_without_groups_keeps_the_usual_ones() {
        let shipped: toml::Table = SHIPPED.parse().unwrap();
        let usual: toml::Table = format!("groups = {}", usual_groups()).parse().unwrap();
        assert_eq!(usual["groups"], shipped["access"]["groups"]);
        let setup = Setup { admin_group: vec!["it".to_owned()], ..Setup::default() };
        let read: toml::Table = edited("", &setup).unwrap().parse().unwrap();
        assert_eq!(read["access"]["groups"]["admin"].as_array().unwrap().len(), 5);
        assert!(read["access"]["groups"].get("viewer").is_some());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for wrong in ["tls = 1", "access = 3", "[access]\ngroups = 1", "= 3"] {
            assert!(edited(wrong, &setup()).is_err(), "{wrong}");
        }
        let relative = Setup { certificate: Some("a.pem".into()), ..setup() };
        assert!(edited("", &relative).unwrap_err().contains("absolute"));
    }
}
