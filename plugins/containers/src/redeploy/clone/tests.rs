use proptest::prelude::*;
use sdk::{Value, json};

use super::*;

const ID: &str = "8e19bc92173a1c3aa32145f69bf3ca1f0123456789abcdef0123456789abcdef";

fn inspection(more: &Value) -> ContainerInspectResponse {
    let mut seen = json!({
        "Id": ID, "Name": "/web", "Image": "sha256:old",
        "Config": {
            "Hostname": "8e19bc92173a", "Image": "web:1", "User": "", "StopSignal": "SIGTERM",
            "Env": ["PATH=/bin", "MODE=own"], "Cmd": ["serve"], "Entrypoint": ["/run"],
            "Labels": {"of.image": "1", "own": "x", "com.docker.compose.project": "shop"},
            "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "Volumes": {"/cache": {}},
            "WorkingDir": "/srv", "Tty": false, "StopTimeout": 3,
        },
        "HostConfig": {
            "NetworkMode": "shop_default", "Links": ["/db:/web/store"], "Memory": 1024,
            "Binds": ["/etc/x:/etc/x:ro"], "RestartPolicy": {"Name": "always"},
            "ContainerIDFile": "/x", "PortBindings": {"80/tcp": [{"HostPort": ""}]},
        },
        "Mounts": [
            {"Type": "bind", "Source": "/etc/x", "Destination": "/etc/x", "RW": false},
            {"Type": "volume", "Name": "f00", "Destination": "/cache", "RW": true},
        ],
        "NetworkSettings": {"Networks": {
            "shop_default": {"Aliases": ["web", "8e19bc92173a"], "IPAddress": "172.18.0.2",
                "MacAddress": "02:42:ac:12:00:02", "NetworkID": "n1"},
            "back": {"Aliases": ["web-1"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}, "IPAddress": "10.0.0.9"},
        }},
    });
    for (path, value) in more.as_object().into_iter().flatten() {
        *seen.pointer_mut(path).unwrap() = value.clone();
    }
    serde_json::from_value(seen).unwrap()
}

fn image() -> ImageConfig {
    let image = json!({
        "Env": ["PATH=/bin"], "Cmd": ["serve"], "Entrypoint": ["/run"], "WorkingDir": "/srv",
        "Labels": {"of.image": "1"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/cache": {}},
        "StopSignal": "SIGTERM",
    });
    serde_json::from_value(image).unwrap()
}

fn wanted() -> Wanted {
    let (action, image) = ("a-1".to_owned(), "web:1".to_owned());
    Wanted { action, image, keeps_volumes: true, ..Wanted::default() }
}

#[test]
fn what_the_image_brought_along_is_left_to_the_image() {
    let Clone { body, .. } = of(&inspection(&json!({})), &image(), &wanted());
    assert_eq!((&body.cmd, &body.entrypoint, &body.working_dir), (&None, &None, &None));
    assert_eq!((&body.hostname, &body.user, &body.stop_signal), (&None, &None, &None));
    assert_eq!(body.env.unwrap(), ["MODE=own"]);
    assert_eq!(body.exposed_ports.unwrap(), ["81/tcp"]);
    assert_eq!(body.volumes.unwrap(), Vec::<String>::new());
    assert_eq!((body.stop_timeout, body.image.as_deref()), (Some(3), Some("web:1")));
    let labels = body.labels.unwrap();
    assert_eq!(
        (labels.get("own").map(String::as_str), labels.contains_key("of.image")),
        (Some("x"), false)
    );
    assert_eq!(labels[ACTION], "a-1");
}

#[test]
fn what_somebody_asked_for_stays() {
    let changed = json!({
        "/Config/Hostname": "front", "/Config/Entrypoint": ["/own"], "/Config/User": "web",
        "/Config/Cmd": ["serve"], "/Config/WorkingDir": "/own",
    });
    let Clone { body, .. } = of(&inspection(&changed), &image(), &wanted());
    assert_eq!(body.hostname.as_deref(), Some("front"));
    assert_eq!(body.entrypoint.unwrap(), ["/own"]);
    // The engine would not take the image's own command behind another entry point.
    assert_eq!(body.cmd.unwrap(), ["serve"]);
    assert_eq!((body.user.as_deref(), body.working_dir.as_deref()), (Some("web"), Some("/own")));
}

#[test]
fn volumes_without_a_name_go_on_and_networks_are_told_apart() {
    let Clone { body, networks } = of(&inspection(&json!({})), &image(), &wanted());
    let host = body.host_config.unwrap();
    assert_eq!(host.binds.unwrap(), ["/etc/x:/etc/x:ro", "f00:/cache"]);
    assert_eq!((host.links.unwrap(), host.memory), (vec!["db:store".to_owned()], Some(1024)));
    assert_eq!(host.container_id_file, None);
    let first = body.networking_config.unwrap().endpoints_config.unwrap();
    let own = &first["shop_default"];
    assert_eq!(own.aliases.as_deref(), Some(&["web".to_owned()][..]));
    assert_eq!((first.len(), &own.ip_address, &own.mac_address), (1, &None, &None));
    assert_eq!((networks.len(), networks[0].0.as_str()), (1, "back"));
    let address = networks[0].1.ipam_config.as_ref().and_then(|it| it.ipv4_address.clone());
    assert_eq!(address.as_deref(), Some("10.0.0.9"));

    let fresh = Wanted { keeps_volumes: false, is_replica: true, ..wanted() };
    let Clone { body, networks } = of(&inspection(&json!({})), &image(), &fresh);
    assert_eq!(body.host_config.unwrap().binds.unwrap(), ["/etc/x:/etc/x:ro"]);
    assert_eq!(networks[0].1.ipam_config, None, "two cannot have one address");
}

#[test]
fn one_in_anothers_network_follows_it_and_has_none_of_its_own() {
    let changed = json!({"/HostConfig/NetworkMode": "container:old", "/Config/Hostname": "other"});
    let swapped = BTreeMap::from([("old".to_owned(), "new".to_owned())]);
    let made = of(&inspection(&changed), &image(), &Wanted { swapped, ..wanted() });
    let host = made.body.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("container:new"));
    assert_eq!((made.body.hostname, made.body.exposed_ports), (None, None));
    assert!(made.body.networking_config.is_none() && made.networks.is_empty());
}

#[test]
fn on_the_usual_network_nothing_is_asked_for() {
    let networks = json!({"bridge": {"Aliases": null, "IPAddress": "172.17.0.2"}});
    let changed =
        json!({"/HostConfig/NetworkMode": "default", "/NetworkSettings/Networks": networks});
    let made = of(&inspection(&changed), &image(), &wanted());
    assert!(made.body.networking_config.is_none() && made.networks.is_empty());
}

#[test]
fn what_only_one_can_have_is_named() {
    let why = |changed: Value| alone(&inspection(&changed));
    let address = "/NetworkSettings/Networks/back/IPAMConfig";
    let free = json!({address: null});
    assert_eq!(why(free.clone()), None, "the engine chooses the port");
    assert!(why(json!({})).unwrap().contains("back"));
    let port =
        json!({address: null, "/HostConfig/PortBindings": {"80/tcp": [{"HostPort": "8080"}]}});
    assert!(why(port).unwrap().contains("8080"));
    for (mode, named) in [("host", "machine's"), ("container:x", "another")] {
        assert!(why(json!({"/HostConfig/NetworkMode": mode})).unwrap().contains(named));
    }
    assert!(shared(&inspection(&free)).unwrap().contains("/cache"));
    let read = json!({"/Mounts/1/RW": false});
    assert_eq!(shared(&inspection(&read)), None);
}

proptest! {
    /// What is the image's is never taken over, what is not always is.
    #[test]
    fn settings_are_parted_by_whose_they_are(own in prop::collection::vec("[A-D]=[0-9]", 0..6), its in prop::collection::vec("[A-D]=[0-9]", 0..6)) {
        let seen = inspection(&json!({"/Config/Env": own}));
        let image = ImageConfig { env: Some(its.clone()), ..image() };
        let env = of(&seen, &image, &wanted()).body.env.unwrap();
        for one in &own {
            prop_assert_eq!(env.contains(one), !its.contains(one));
        }
    }

    /// A clone of a clone is the clone, but for its action.
    #[test]
    fn cloning_twice_is_cloning_once(keeps_volumes: bool, hostname in "[a-z]{1,14}") {
        let seen = inspection(&json!({"/Config/Hostname": hostname}));
        let wanted = Wanted { keeps_volumes, ..wanted() };
        let once = of(&seen, &image(), &wanted);
        let mut again = seen;
        let config = again.config.as_mut().unwrap();
        config.labels.clone_from(&once.body.labels);
        let host = again.host_config.as_mut().unwrap();
        host.binds = once.body.host_config.as_ref().unwrap().binds.clone();
        let twice = of(&again, &image(), &wanted);
        prop_assert_eq!(&twice.body.labels, &once.body.labels);
        let binds = |made: &Clone| made.body.host_config.as_ref().unwrap().binds.clone();
        prop_assert_eq!(binds(&twice), binds(&once));
    }
}
