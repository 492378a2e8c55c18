//! A way to models on which nothing is counted.

use std::sync::Arc;

use futures::future::BoxFuture;
use platform_runtime::clock::{SystemClock, SystemIds};
use platform_runtime::lifecycle::{Shutdown, Tasks};
use platform_storage::StorageError;
use platform_storage::sandbox::SandboxIdentity;
use vault_proxy::model::Models;
use vault_proxy::model::forward::Gateway;
use vault_proxy::model::ledger::{Allowances, Ledger, Spent};
use vault_proxy::model::owner::Owners;
use vault_proxy::model::prices::Prices;
use vault_proxy::rules::Witness;

struct Free;

impl Ledger for Free {
    fn allowances(
        &self,
        _identity: SandboxIdentity,
    ) -> BoxFuture<'_, Result<Allowances, StorageError>> {
        Box::pin(async { Ok(Allowances::default()) })
    }

    fn record(&self, _identity: SandboxIdentity, _spent: Spent) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

pub fn models(owners: Arc<dyn Owners>, gateway: Gateway, witness: Arc<dyn Witness>) -> Arc<Models> {
    Arc::new(Models {
        owners,
        ledger: Arc::new(Free),
        prices: Arc::new(Prices::new(gateway.clone())),
        gateway,
        keys: None,
        witness,
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        tasks: Tasks::new(Shutdown::new()),
    })
}
