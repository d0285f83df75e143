//! Clients that send too much or never log in.

use super::talk::Talk;
use crate::harness::Site;

#[tokio::test]
async fn who_is_too_large_or_too_late_is_closed_with_the_codes_of_everywhere() {
    let mut site = Site::new();
    site.settings = "[limits]\nlogin_s = 1\n".to_owned();
    let running = site.start().await;
    let mut large = Talk::stranger(&running).await;
    large.line.send_raw(&"x".repeat(9_000)).await;
    assert_eq!(large.line.closed().await.0, 1009);
    let mut late = Talk::stranger(&running).await;
    assert_eq!(late.line.closed().await.0, 1000, "nobody has logged in");
    let mut known = Talk::admin(&running).await;
    known.line.send_raw(&"x".repeat(2 * 1024 * 1024)).await;
    assert_eq!(known.line.closed().await.0, 1009);
    drop((large, late, known));
    running.stop().await;
}
