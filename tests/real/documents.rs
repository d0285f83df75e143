//! The documents that the daemon makes of itself, before the validators of those who wrote the
//! specifications. `tests/run` installs them; see `tests/clients/documents`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::it::harness::Site;
use crate::run;

const INSTALL: &str = "tests/run installs them: npm install --prefix target/clients/documents \
                       @open-rpc/schema-utils-js @asyncapi/parser @apidevtools/swagger-parser";

#[test]
fn the_documents_are_what_their_specifications_ask_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join("target/clients/documents");
    assert!(modules.join("node_modules").exists(), "the validators are missing; {INSTALL}");
    run(async {
        let mut site = Site::new().with_kit();
        site.built_in = true;
        let program = site.spawn().await;
        for plugin in ["snapshot", "kit"] {
            program.ready(plugin).await;
        }
        let folder = program.site().path().join("documents");
        std::fs::create_dir(&folder).expect("a folder");
        let mut admin = program.admin().await;
        for form in ["openrpc", "asyncapi", "openapi"] {
            let document: Value =
                admin.call("rpc", "discover", json!({"as": form})).await.expect("a document");
            let path = folder.join(format!("{form}.json"));
            std::fs::write(path, document.to_string()).expect("it is written");
        }
        let checked = Command::new("node")
            .arg(root.join("tests/clients/documents/check.mjs"))
            .args([&modules, &folder])
            .output()
            .expect("node runs; apt-get install nodejs");
        let said = String::from_utf8_lossy(&checked.stdout);
        let complaint = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{said}\n{complaint}");
        assert_eq!(said.lines().count(), 6, "{said}");
        admin.close().await;
        program.stop().await;
    });
}
