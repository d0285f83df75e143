//! The peer for calls: a jsonrpsee server as its documentation shows, with one method of the size of our `identify` and one
//! that answers with its arguments.

use std::net::SocketAddr;

use jsonrpsee::RpcModule;
use jsonrpsee::server::Server;
use serde_json::{Value, json};

use crate::Res;

/// Serves both, under the names they have with us, until the process ends.
pub(crate) async fn run(addr: SocketAddr) -> Res<()> {
    let server = Server::builder().build(addr).await?;
    let mut module = RpcModule::new(());
    module.register_method(
        "rpc.identify",
        |_, (), _| json!({"hostname": "bench", "type": "server", "version": "1"}),
    )?;
    module.register_method("bench.echo", |params, (), _| params.parse::<Value>())?;
    server.start(module).stopped().await;
    Ok(())
}
