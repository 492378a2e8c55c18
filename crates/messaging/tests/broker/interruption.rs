//! A broker that goes away and comes back.

use std::time::{Duration, Instant};

use platform_messaging::topology::{EVENTS, Queue, SESSION_COMMANDS, events_of, kind};
use platform_messaging::{Broker, Delivered, Outgoing, PublishError, RequestError, Verdict};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::scene::{PATIENCE, Scene, command, next, recorder, word};

/// What an attempt may take while the broker is away.
const ATTEMPT: Duration = Duration::from_millis(3500);

#[tokio::test]
async fn without_a_broker_every_attempt_fails_in_time_and_later_succeeds() {
    let scene = Scene::set().await;
    scene.network.cut().await;

    let began = Instant::now();
    let published = scene.broker.publish(command("lost")).await;
    assert!(matches!(published, Err(PublishError::Unavailable { .. })), "{published:?}");
    assert!(began.elapsed() < ATTEMPT);

    let began = Instant::now();
    let id = Uuid::now_v7();
    let asked = scene
        .broker
        .request(SESSION_COMMANDS, kind::SESSION_COMMAND, id, Vec::new(), PATIENCE)
        .await;
    assert!(matches!(asked, Err(RequestError::Unavailable { .. })), "{asked:?}");
    assert!(began.elapsed() < ATTEMPT);
    assert!(scene.broker.check().is_err());

    scene.network.restore().await;
    scene.until(Broker::is_connected).await;
    assert_eq!(scene.broker.publish(command("kept")).await.unwrap(), Delivered::Routed);
}

#[tokio::test]
async fn a_service_starts_without_its_broker_and_finds_it_later() {
    let scene = Scene::set().await;
    scene.network.cut().await;
    let url = format!("amqp://guest:guest@127.0.0.1:{}/nowhere", scene.network.port());
    let broker = Broker::connect(&url.into(), "early").await.unwrap();
    assert!(!broker.is_connected());
    broker.declare_topology().await.unwrap();
}

#[tokio::test]
async fn consumers_go_on_after_an_interruption() {
    let scene = Scene::set().await;
    let (handler, mut received) = recorder(|_| Verdict::Done);
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(
        async move { broker.consume(Queue::SESSION_COMMANDS, 8, 8, shutdown, handler).await },
    );
    for name in ["before", "between", "after"] {
        scene.broker.publish(command(name)).await.unwrap();
        // The one before may come once more, when the connection was lost before it was settled.
        while word(&next(&mut received).await) != name {}
        scene.interrupt().await;
    }
}

#[tokio::test]
async fn a_message_in_hand_during_an_interruption_comes_again() {
    let scene = Scene::set().await;
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(async move {
        let handler = move |incoming: platform_messaging::Incoming| {
            let begun = begun.clone();
            async move {
                let (proceed, may_proceed) = tokio::sync::oneshot::channel::<()>();
                begun.send((incoming, proceed)).unwrap();
                may_proceed.await.unwrap();
                Verdict::Done
            }
        };
        broker.consume(Queue::SESSION_COMMANDS, 8, 8, shutdown, handler).await;
    });
    scene.broker.publish(command("open")).await.unwrap();
    let (_, first) = next(&mut has_begun).await;
    scene.interrupt().await;
    first.send(()).unwrap();
    let (again, second) = next(&mut has_begun).await;
    assert_eq!((word(&again).as_str(), again.delivery_count), ("open", 1));
    second.send(()).unwrap();
}

#[tokio::test]
async fn a_request_in_flight_does_not_hang_when_the_connection_is_lost() {
    let scene = Scene::set().await;
    let (taken, mut is_taken) = mpsc::unbounded_channel();
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(async move {
        let silent = move |incoming| {
            taken.send(incoming).unwrap();
            std::future::pending()
        };
        broker.consume(Queue::SESSION_COMMANDS, 8, 8, shutdown, silent).await;
    });
    let broker = scene.broker.clone();
    let asking = tokio::spawn(async move {
        let (id, long) = (Uuid::now_v7(), Duration::from_hours(1));
        broker.request(SESSION_COMMANDS, kind::SESSION_COMMAND, id, Vec::new(), long).await
    });
    next(&mut is_taken).await;
    scene.network.cut().await;
    let asked = tokio::time::timeout(PATIENCE, asking).await.unwrap().unwrap();
    assert!(
        matches!(asked, Err(RequestError::TimedOut | RequestError::Unavailable { .. })),
        "{asked:?}"
    );
}

#[tokio::test]
async fn an_own_queue_comes_back_with_what_it_had_bound_and_tells_of_the_gap() {
    let scene = Scene::set().await;
    let (handler, mut received) = recorder(|_| Verdict::Done);
    let queue = scene.broker.own_queue("gateway");
    let (consuming, shutdown) = (queue.clone(), scene.shutdown.clone());
    tokio::spawn(async move { consuming.consume(64, 1, shutdown, handler).await });

    let sessions = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    let [kept, withdrawn, added] = sessions.map(|session| session.to_string());
    queue.bind(EVENTS, &kept).await.unwrap();
    queue.bind(EVENTS, &withdrawn).await.unwrap();
    queue.unbind(EVENTS, &withdrawn).await;
    for _ in 0..200 {
        queue.bind(EVENTS, &Uuid::now_v7().to_string()).await.unwrap();
    }

    let mut interruptions = queue.interruptions();
    let before = *interruptions.borrow_and_update();
    scene.network.cut().await;
    scene.until(|broker| !broker.is_connected()).await;
    assert!(queue.bind(EVENTS, &added).await.is_err());
    scene.network.restore().await;
    tokio::time::timeout(PATIENCE, interruptions.wait_for(|count| *count > before))
        .await
        .unwrap()
        .unwrap();

    for (session, text) in
        [(sessions[1], "withdrawn"), (sessions[0], "kept"), (sessions[2], "added")]
    {
        let route = events_of(platform_core::id::Id::from_uuid(session));
        let events = Outgoing::new(route, kind::EVENTS_COMMITTED, Uuid::now_v7(), text.into());
        scene.broker.publish(events).await.unwrap();
    }
    assert_eq!(word(&next(&mut received).await), "kept");
    assert_eq!(word(&next(&mut received).await), "added");
}

#[tokio::test]
async fn a_closed_broker_ends_its_consumers_and_refuses_everything() {
    let scene = Scene::set().await;
    let (handler, _received) = recorder(|_| Verdict::Done);
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    let consuming = tokio::spawn(async move {
        broker.consume(Queue::SESSION_COMMANDS, 8, 8, shutdown, handler).await;
    });
    scene.broker.close().await;
    tokio::time::timeout(PATIENCE, consuming).await.unwrap().unwrap();
    assert!(scene.broker.publish(command("late")).await.is_err());
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_once_without_telling_the_password() {
    let refused = Broker::connect(&"http://user:hunter2@host".to_owned().into(), "test").await;
    let message = refused.err().unwrap().to_string();
    assert!(!message.contains("hunter2"), "{message}");
}
