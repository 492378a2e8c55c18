//! The cluster as this service sees it: one watch for each kind, who waits for which object, and calls that end in time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Config, Resource, ResourceExt};
use platform_runtime::lifecycle::Tasks;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::claim::SandboxClaim;
use super::names;
use super::sandbox::Sandbox;
use crate::backend::BackendError;

/// How long one call may take, with the repetitions that the client makes by itself.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// How long the first look at everything may take.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the cluster refused it")]
    Api(#[from] kube::Error),
    #[error("the cluster did not answer in {} s", ANSWERED_WITHIN.as_secs())]
    Unanswered,
    #[error("the cluster does not serve {0}: install agent-sandbox v0.5.6 or newer")]
    Unserved(String),
    #[error("the cluster's objects could not be listed in {} s", SEEN_WITHIN.as_secs())]
    Unseen,
    #[error("an object of this service is none that the cluster knows")]
    Object(#[from] serde_json::Error),
}

/// Something in a namespace, by name. A pod has the name of its `Sandbox`.
type Key = (String, String);

/// The cluster, and what was seen of it last.
pub struct Cluster {
    client: Client,
    sandboxes: Store<Sandbox>,
    claims: Store<SandboxClaim>,
    pods: Store<Pod>,
    followers: Mutex<HashMap<Key, watch::Sender<()>>>,
}

/// The watches of a cluster; they have to be run.
pub struct Watches {
    sandboxes: Writer<Sandbox>,
    claims: Writer<SandboxClaim>,
    pods: Writer<Pod>,
}

type Writer<K> = reflector::store::Writer<K>;

impl Cluster {
    /// Checks that the cluster has what is needed.
    pub async fn connect(way: Config) -> Result<(Self, Watches), ClusterError> {
        let client = Client::try_from(way)?;
        for api in ["agents.x-k8s.io/v1beta1", "extensions.agents.x-k8s.io/v1beta1"] {
            let served = answered(client.list_api_group_resources(api)).await;
            match served {
                Ok(_) => {}
                Err(ClusterError::Api(kube::Error::Api(status))) if status.code == 404 => {
                    return Err(ClusterError::Unserved(api.to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        let (sandboxes, sandboxes_writer) = reflector::store();
        let (claims, claims_writer) = reflector::store();
        let (pods, pods_writer) = reflector::store();
        let followers = Mutex::default();
        let watches =
            Watches { sandboxes: sandboxes_writer, claims: claims_writer, pods: pods_writer };
        Ok((Self { client, sandboxes, claims, pods, followers }, watches))
    }

    /// Follows all that concerns sandboxes until the service ends, and answers once everything was seen.
    pub async fn follow_all(
        self: &Arc<Self>,
        watches: Watches,
        tasks: &Tasks,
        shutdown: &CancellationToken,
    ) -> Result<(), ClusterError> {
        let everything = watcher::Config::default();
        let ours = everything.clone().labels(&format!("{}={}", names::ROLE_LABEL, names::ROLE));
        let client = || self.client.clone();
        let sandboxes = objects(client(), everything.clone(), watches.sandboxes);
        let claims = objects(client(), everything, watches.claims);
        let pods = objects(client(), ours, watches.pods);
        tasks.spawn("watch of sandboxes", follow(self.clone(), sandboxes, shutdown.clone()));
        tasks.spawn("watch of claims", follow(self.clone(), claims, shutdown.clone()));
        tasks.spawn("watch of pods", follow(self.clone(), pods, shutdown.clone()));
        let all_seen = async {
            let _writers_live_as_long_as_the_service = tokio::join!(
                self.sandboxes.wait_until_ready(),
                self.claims.wait_until_ready(),
                self.pods.wait_until_ready(),
            );
        };
        tokio::time::timeout(SEEN_WITHIN, all_seen).await.map_err(|_elapsed| ClusterError::Unseen)
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// As it was seen last.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.get(&ObjectRef::new(name).within(namespace))
    }

    /// As it was seen last.
    pub fn sandbox(&self, namespace: &str, name: &str) -> Option<Arc<Sandbox>> {
        self.sandboxes.get(&ObjectRef::new(name).within(namespace))
    }

    pub fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.sandboxes.state()
    }

    pub fn claims(&self) -> Vec<Arc<SandboxClaim>> {
        self.claims.state()
    }

    pub fn find_claim(&self, name: &str) -> Option<Arc<SandboxClaim>> {
        self.claims.find(|claim| claim.name_any() == name)
    }

    /// Hears of every change of a claim, a `Sandbox` or a pod of this name, from now on.
    pub fn follow(&self, namespace: &str, name: &str) -> watch::Receiver<()> {
        let mut followers = self.followers();
        followers.retain(|_, follower| follower.receiver_count() > 0);
        let key = (namespace.to_owned(), name.to_owned());
        followers.entry(key).or_default().subscribe()
    }

    /// Whether the cluster answers.
    pub async fn ping(&self) -> Result<(), ClusterError> {
        answered(self.client.apiserver_version()).await.map(drop)
    }

    fn note(&self, namespace: Option<String>, name: String) {
        if let Some(follower) = self.followers().get(&(namespace.unwrap_or_default(), name)) {
            follower.send_replace(());
        }
    }

    /// After a look at everything: what vanished meanwhile shows only as absence.
    fn note_all(&self) {
        self.followers().values().for_each(|follower| follower.send_replace(()));
    }

    fn followers(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<()>>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call to the cluster, with an end.
pub async fn answered<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(ANSWERED_WITHIN, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_elapsed) => Err(ClusterError::Unanswered),
    }
}

/// As [`answered`]; `None` when the object does not exist, or is not the one that was meant any more.
pub async fn found<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Option<T>, ClusterError> {
    match answered(call).await {
        Ok(value) => Ok(Some(value)),
        // A wrong uid: 409 for a deletion, 422 for a patch.
        Err(ClusterError::Api(kube::Error::Api(status)))
            if [404, 409, 422].contains(&status.code) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Says what was attempted.
pub fn failed(what: &'static str) -> impl FnOnce(ClusterError) -> BackendError {
    move |source| BackendError::Cluster { what, source: Box::new(source) }
}

fn objects<K>(
    client: Client,
    config: watcher::Config,
    writer: Writer<K>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    watcher::watcher(Api::all(client), config)
        .default_backoff()
        .modify(|object: &mut K| object.managed_fields_mut().clear())
        .reflect(writer)
}

async fn follow<K>(
    cluster: Arc<Cluster>,
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    shutdown: CancellationToken,
) where
    K: Resource<DynamicType = ()> + Send,
{
    let mut events = std::pin::pin!(events);
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(Event::Apply(object) | Event::Delete(object))) => {
                cluster.note(object.namespace(), object.name_any());
            }
            Some(Ok(Event::InitDone)) => cluster.note_all(),
            Some(Ok(Event::Init | Event::InitApply(_))) => {}
            // The stream goes on if it is asked again, after its own pauses.
            Some(Err(error)) => {
                tracing::warn!(kind = %K::kind(&()), error = &error as &dyn std::error::Error, "the cluster cannot be watched now");
            }
            None => return,
        }
    }
}
