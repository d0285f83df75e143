//! The peer for calls: a jsonrpsee server as its documentation shows, with one method of the size of our `identify`.

use std::net::SocketAddr;

use jsonrpsee::RpcModule;
use jsonrpsee::server::Server;
use serde_json::json;

use crate::Res;

/// Serves `identify` until the process ends.
pub(crate) async fn run(addr: SocketAddr) -> Res<()> {
    let server = Server::builder().build(addr).await?;
    let mut module = RpcModule::new(());
    module.register_method(
        "identify",
        |_, (), _| json!({"hostname": "bench", "type": "server", "version": "1"}),
    )?;
    server.start(module).stopped().await;
    Ok(())
}
