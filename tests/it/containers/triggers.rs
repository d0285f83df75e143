//! Triggers of a service, as Docker Cloud's clients make, list and call them.

use serde_json::{Value, json};

use super::{StandIn, ask, basic, daemon};
use crate::harness::{Running, until};
use crate::http::{self, Reply};

async fn send(
    running: &Running,
    method: &str,
    path: &str,
    headers: &[String],
    body: &str,
) -> Reply {
    http::over_tls(running.tls(), &http::request(method, path, headers, body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_has_triggers_as_the_original_had_them() {
    let engine = StandIn::start();
    let running = daemon(&engine).await;
    let login = [basic("anybody", &running.token("operator").await)];
    let services = ask(&running, "GET", "/api/app/v1/service/", &login).await.json();
    let service = services["objects"][0]["uuid"].as_str().unwrap().to_owned();
    let at = format!("/api/app/v1/service/{service}/trigger/");
    // Python sends no body at all, Go `{}` without a content type, and both double the slash.
    let doubled = format!("/api/app/v1/service/{service}//trigger/");
    let first = send(&running, "POST", &doubled, &login, "").await;
    assert_eq!(first.status, 201, "{first:?}");
    let first = first.json();
    let uuid = first["uuid"].as_str().unwrap();
    assert_eq!(
        first,
        json!({
            "name": "", "operation": "REDEPLOY", "uuid": uuid,
            "resource_uri": format!("{at}{uuid}/"), "url": format!("{at}{uuid}/call/"),
        })
    );
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "clients want version 4");
    let wanted = json!({"name": "more", "operation": "SCALEUP"}).to_string();
    let second = send(&running, "POST", &at, &login, &wanted).await.json();
    assert_eq!((&second["name"], &second["operation"]), (&json!("more"), &json!("SCALEUP")));

    let listed = ask(&running, "GET", &at, &login).await.json();
    assert_eq!(listed["objects"], json!([first, second]));
    let filtered = ask(&running, "GET", &format!("{at}?name=more"), &login).await.json();
    assert_eq!(filtered["objects"], json!([second]));
    let prefix = format!("{at}?uuid__startswith={}", &uuid[..8]);
    assert_eq!(ask(&running, "GET", &prefix, &login).await.json()["objects"], json!([first]));
    let one = first["resource_uri"].as_str().unwrap();
    assert_eq!(ask(&running, "GET", one, &login).await.json(), first);

    let viewer = who_may_not_and_what_is_wrong(&running, &at, &login).await;

    let call = |url: &Value, end: &str| format!("{}{end}", url.as_str().unwrap());
    for end in ["0/", "-1/", "21/", "%32/"] {
        assert_eq!(send(&running, "POST", &call(&second["url"], end), &[], "").await.status, 400);
    }
    let called = send(&running, "POST", &call(&second["url"], "2/"), &[], "").await;
    assert_eq!(called.status, 202, "{called:?}");
    assert!(called.header("X-DockerCloud-Action-URI").is_some());
    assert_eq!(called.json()["uuid"], second["uuid"]);
    let called = send(&running, "POST", &call(&first["url"], ""), &[], "a body").await.json();
    let status = called["status_uri"].as_str().unwrap().to_owned();
    until("it has ended", async || {
        let now = ask(&running, "GET", &status, &[]).await.json();
        matches!(now["action"]["state"].as_str(), Some("Success" | "Failed"))
    })
    .await;

    // Clients that wait follow the action.
    let action = called["action_uri"].as_str().unwrap();
    let action = ask(&running, "GET", action, &login).await.json();
    assert_eq!(action["object"], format!("/api/app/v1/service/{service}/"), "{action}");
    assert_eq!(action["action"], "Service Redeploy");
    let actions = ask(&running, "GET", "/api/audit/v1/action/", &login).await.json();
    assert_eq!(actions["meta"]["total_count"], 2, "{actions}");
    assert!(!actions.to_string().contains(uuid), "a URL is shown");
    let none = ask(&running, "GET", "/api/audit/v1/action/", &viewer).await.json();
    assert_eq!(none["meta"]["total_count"], 0);

    let gone = send(&running, "DELETE", one, &login, "{}").await;
    assert_eq!((gone.status, gone.json()), (200, first.clone()), "Go reads the body");
    assert_eq!(send(&running, "POST", &call(&first["url"], ""), &[], "").await.status, 404);
    assert_eq!(ask(&running, "GET", &at, &login).await.json()["objects"], json!([second]));
    running.stop().await;
}

/// Whoever may not, and whatever is wrong, makes nothing; answers a viewer's login.
async fn who_may_not_and_what_is_wrong(
    running: &Running,
    at: &str,
    login: &[String],
) -> [String; 1] {
    // Somebody else's are not there for another operator, and nobody's for a viewer.
    let other = [basic("anybody", &running.token("operator").await)];
    assert_eq!(ask(running, "GET", at, &other).await.json()["meta"]["total_count"], 0);
    let viewer = [basic("anybody", &running.token("viewer").await)];
    assert_eq!(send(running, "POST", at, &viewer, "{}").await.status, 403);
    assert_eq!(send(running, "POST", at, &[], "{}").await.status, 401);
    for wrong in [r#"{"operation":"SNAPSHOT"}"#, r#"{"name":7}"#, "{"] {
        assert_eq!(send(running, "POST", at, login, wrong).await.status, 400, "{wrong}");
    }
    let nowhere = "/api/app/v1/service/8e19bc92-173a-4c3a-a321-45f69bf3ca1f/trigger/";
    assert_eq!(send(running, "POST", nowhere, login, "{}").await.status, 404);
    viewer
}
