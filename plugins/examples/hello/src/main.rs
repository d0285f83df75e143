//! The smallest useful plugin: answers `hello/say {"to": "…"}` and publishes `hello.said`.

use std::process::ExitCode;

use sdk::{Context, Draft, Fault, Plugin, Request, Value, json};

fn main() -> ExitCode {
    sdk::serve(include_str!("../manifest.json"), Hello)
}

struct Hello;

impl Plugin for Hello {
    fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault> {
        match request.method().as_str() {
            "hello/say" => say(ctx, request),
            _ => Err(sdk::unknown_method(request)),
        }
    }
}

fn say(ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let to = match request.args["to"].as_str() {
        Some(to) if to.chars().count() <= 100 => to,
        _ => {
            return Err(Fault::bad_request("expected `to`, a text of at most 100 characters")
                .with_hint(r#"send {"to": "world"}"#));
        }
    };
    let greeting = format!("hello, {to}");
    let mut said = Draft::new(sdk::class("hello.said")?);
    said.message = format!("{} said {greeting:?}", ctx.actor());
    said.data = json!({ "to": to }).into();
    ctx.publish(&said)?;
    Ok(json!({ "greeting": greeting }))
}
