//! What a redeploy of one container would be: which image, in which order.

use std::collections::BTreeSet;
use std::sync::Arc;

use bollard::models::{ContainerInspectResponse, ImageConfig};
use sdk::{Context, Fault, FaultKind};
use serde::Deserialize;

use super::clone;
use crate::change::Ask;
use crate::container::Container;
use crate::hand::{self, Trouble};
use crate::worker::Worker;

/// In which order old and new change places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// The new one is started first where both can run beside each other.
    #[default]
    Auto,
    StartFirst,
    StopFirst,
}

/// Whether the registry is asked for a newer image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pull {
    /// It is; where that fails the image that is there will do.
    #[default]
    Try,
    /// It is, and must answer.
    Always,
    /// Only when there is no such image here.
    Missing,
    Never,
}

/// What was found.
pub(crate) struct Examined {
    pub(super) seen: ContainerInspectResponse,
    /// The settings that the old image has brought along.
    pub(super) settings: ImageConfig,
    /// The name of the image.
    pub(super) image: String,
    pub(super) old_image: String,
    pub(super) new_image: String,
    pub(super) start_first: bool,
    /// Why in this order.
    pub(super) why: String,
    /// Why the registry could not be asked.
    pub(super) pull_failed: Option<String>,
}

impl Examined {
    /// Whether its image is another by now.
    pub(super) fn has_newer(&self) -> bool {
        self.old_image != self.new_image
    }
}

/// Looks at a container, and pulls its image unless it was pulled in the same call.
///
/// # Errors
/// Why it cannot be redeployed.
pub(super) fn examine(
    ctx: &Context,
    engine: &Arc<Worker>,
    (it, ask): (&Container, &Ask),
    pulled: &mut BTreeSet<String>,
) -> Result<Examined, Fault> {
    let name = &it.name;
    let id = it.id.clone();
    let seen = engine.ask(|docker| async move { hand::inspect(&docker, &id).await });
    let seen =
        seen.map_err(|trouble: Trouble| trouble.fault(&format!("{name} cannot be looked at")))?;
    let host = seen.host_config.clone().unwrap_or_default();
    if host.auto_remove == Some(true) {
        let sentence =
            format!("{name} is removed by the engine as soon as it ends, so there is no way back");
        return Err(Fault::new(FaultKind::Conflict, sentence).with_hint("it was run with --rm"));
    }
    let (start_first, why) = in_order(ask.order, &seen).map_err(|why| {
        Fault::new(FaultKind::Conflict, format!("{name} cannot be started first: {why}"))
    })?;
    let image = seen.config.as_ref().and_then(|config| config.image.clone()).unwrap_or_default();
    let old_image = seen.image.clone().unwrap_or_default();
    let pull_failed = pull(ctx, engine, (&image, ask), pulled)?;
    let (new_image, _) = image_of(engine, &image, name)?;
    // An image whose name was taken away is still there by its id, as long as somebody uses it.
    let settings = image_of(engine, &old_image, name).map(|(_, settings)| settings);
    let settings = settings.unwrap_or_default();
    Ok(Examined { seen, settings, image, old_image, new_image, start_first, why, pull_failed })
}

/// Which one first, and why. Pure.
fn in_order(order: Order, seen: &ContainerInspectResponse) -> Result<(bool, String), String> {
    match (order, clone::alone(seen), clone::shared(seen)) {
        (Order::StopFirst, ..) => Ok((false, "it was asked for".to_owned())),
        (Order::StartFirst, Some(why), _) => Err(why),
        (Order::StartFirst, None, _) => Ok((true, "it was asked for".to_owned())),
        (Order::Auto, Some(why), _) | (Order::Auto, None, Some(why)) => Ok((false, why)),
        (Order::Auto, None, None) => Ok((true, "both can run beside each other".to_owned())),
    }
}

/// Has the engine ask the registry; why that did not work, where it need not.
fn pull(
    ctx: &Context,
    engine: &Arc<Worker>,
    (image, ask): (&str, &Ask),
    pulled: &mut BTreeSet<String>,
) -> Result<Option<String>, Fault> {
    // What is named by its content is what it is.
    let is_fixed = image.contains("sha256:");
    let is_there = image_of(engine, image, image).is_ok();
    let wanted = match ask.pull {
        Pull::Never => false,
        Pull::Missing => !is_there,
        Pull::Try | Pull::Always => !(is_fixed && is_there),
    };
    if !wanted || ask.dry_run || !pulled.insert(image.to_owned()) {
        return Ok(None);
    }
    ctx.progress_in("pulling", (0, None), "", image);
    let name = image.to_owned();
    let done = engine.hand(ctx, |docker| async move { hand::pull(&docker, &name).await });
    match done {
        Ok(()) => Ok(None),
        Err(trouble) if trouble.is_aborted() || ask.pull == Pull::Always || !is_there => {
            Err(trouble.fault(&format!("the image {image} cannot be pulled")))
        }
        Err(trouble) => {
            ctx.note(&format!(
                "{image} cannot be pulled, so the one that is here is used: {}",
                trouble.text
            ));
            Ok(Some(trouble.text))
        }
    }
}

/// The id and the settings of an image.
fn image_of(engine: &Worker, image: &str, name: &str) -> Result<(String, ImageConfig), Fault> {
    let asked = image.to_owned();
    let found = engine.ask(|docker| async move { hand::image(&docker, &asked).await });
    found.map_err(|trouble: Trouble| {
        trouble.fault(&format!("{name}: the image {image} is not here"))
    })
}

#[cfg(test)]
mod tests {
    use sdk::json;

    use super::*;

    fn seen(port: &str, writable: bool) -> ContainerInspectResponse {
        let seen = json!({
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": port}]}},
            "Mounts": [{"Type": "volume", "Name": "v", "Destination": "/data", "RW": writable}],
        });
        serde_json::from_value(seen).unwrap()
    }

    #[test]
    fn the_new_one_is_started_first_where_nothing_is_in_the_way() {
        let order = |order, port, writable| in_order(order, &seen(port, writable)).map(|it| it.0);
        assert_eq!(order(Order::Auto, "", false), Ok(true));
        assert_eq!(order(Order::Auto, "8080", false), Ok(false));
        assert_eq!(order(Order::Auto, "", true), Ok(false), "two would write to one volume");
        assert_eq!(order(Order::StartFirst, "", true), Ok(true), "who says so knows");
        assert!(order(Order::StartFirst, "8080", false).is_err());
        assert_eq!(order(Order::StopFirst, "", false), Ok(false));
    }
}
