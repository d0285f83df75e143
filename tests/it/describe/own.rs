//! The daemon's own methods answer in the shapes that they are described in.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sysadmd::dispatch::{Builtin, own_methods};

use super::validator;
use crate::harness::Site;

/// Methods that work on something that an example cannot name: what they are asked here instead.
fn further(own: &Builtin) -> Vec<Value> {
    let of_plugin = || vec![json!({"id": "kit"})];
    match (own.method, own.action) {
        ("rpc/plugins", Some("start" | "stop" | "restart" | "reload")) => of_plugin(),
        _ => Vec::new(),
    }
}

#[test]
fn every_schema_is_one_and_every_example_fits_it() {
    for own in own_methods() {
        let (args, answer) = ((own.args)(), (own.answer)());
        for schema in [&args, &answer] {
            jsonschema::draft202012::meta::validate(schema).expect(own.method);
            assert!(!schema.to_string().contains("$ref"), "{} looks elsewhere", own.method);
        }
        let fits = validator(&args);
        for example in own.examples {
            let example: Value = serde_json::from_str(example).expect("JSON");
            assert!(fits.is_valid(&example), "{}: {example} does not fit {args}", own.method);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_answers_in_the_shapes_it_describes() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    let mut asked = BTreeSet::new();
    for own in own_methods() {
        let fits = validator(&(own.answer)());
        let examples = own.examples.iter().map(|text| serde_json::from_str(text).expect("JSON"));
        for mut args in examples.chain(further(own)) {
            if let Some(action) = own.action {
                args["action"] = action.into();
            }
            let (namespace, name) = own.method.split_once('/').expect("two parts");
            let answer = admin.call(namespace, name, args.clone()).await;
            let answer = answer.unwrap_or_else(|fault| panic!("{} {args}: {fault}", own.method));
            let errors: Vec<String> =
                fits.iter_errors(&answer).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{} {args} answers {answer}: {errors:?}", own.method);
            asked.insert((own.method, own.action));
        }
    }
    assert!(asked.len() >= 20, "only {asked:?} were asked");
    admin.close().await;
    running.stop().await;
}
