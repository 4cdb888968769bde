//! Imports an interface that no plugin may have.

#[allow(missing_docs, clippy::all, reason = "generated")]
mod network {
    wit_bindgen::generate!({ path: "wit", world: "network" });
}

support::guest!("wants-network", "Hostile::Network", |context, resources| {
    network::evil::net::sockets::send(&resources);
    Ok(support::map("wants-network", &resources, context.output))
});
