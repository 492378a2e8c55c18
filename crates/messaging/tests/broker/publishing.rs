//! What becomes of a message that is published.

use platform_core::id::{Id, SandboxId, SessionId};
use platform_messaging::topology::{self, Queue, SANDBOX_LINKS, kind};
use platform_messaging::{Delivered, Outgoing, Verdict};
use uuid::Uuid;

use crate::scene::{Scene, command, next, recorder, word};

fn start_turn(sandbox: SandboxId) -> Outgoing {
    let route = topology::sandbox_link(sandbox);
    Outgoing::new(route, kind::SANDBOX_COMMAND, Uuid::now_v7(), Vec::new()).mandatory()
}

#[tokio::test]
async fn a_confirmed_command_arrives_with_all_that_was_said_about_it() {
    let scene = Scene::set().await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    let sent = command("open").traceparent(Some(traceparent.clone()));
    assert_eq!(scene.broker.publish(sent.clone()).await.unwrap(), Delivered::Routed);

    let (handler, mut received) = recorder(|_| Verdict::Done);
    let shutdown = scene.shutdown.clone();
    let broker = scene.broker.clone();
    tokio::spawn(
        async move { broker.consume(Queue::SESSION_COMMANDS, 8, 8, shutdown, handler).await },
    );

    let incoming = next(&mut received).await;
    assert_eq!(word(&incoming), "open");
    assert_eq!(incoming.kind, kind::SESSION_COMMAND);
    assert_eq!(incoming.message_id, sent.message_id.to_string());
    assert_eq!(incoming.traceparent, Some(traceparent));
    assert_eq!((incoming.delivery_count, incoming.wants_answer), (0, false));
}

#[tokio::test]
async fn a_mandatory_message_that_nobody_takes_is_unroutable() {
    let scene = Scene::set().await;
    let sandbox = Id::from_uuid(Uuid::now_v7());
    assert_eq!(scene.broker.publish(start_turn(sandbox)).await.unwrap(), Delivered::Unroutable);
}

#[tokio::test]
async fn returned_messages_are_not_mistaken_for_one_another() {
    let scene = Scene::set().await;
    let queue = scene.broker.own_queue("links");
    let (handler, _received) = recorder(|_| Verdict::Done);
    let (consuming, shutdown) = (queue.clone(), scene.shutdown.clone());
    tokio::spawn(async move { consuming.consume(64, 64, shutdown, handler).await });
    let linked = Id::from_uuid(Uuid::now_v7());
    queue.bind(SANDBOX_LINKS, &linked.uuid().to_string()).await.unwrap();

    let publishes = (0..500).map(|number| {
        let is_linked = number % 2 == 0;
        let sandbox = if is_linked { linked } else { Id::from_uuid(Uuid::now_v7()) };
        let broker = scene.broker.clone();
        async move {
            let expected = if is_linked { Delivered::Routed } else { Delivered::Unroutable };
            assert_eq!(broker.publish(start_turn(sandbox)).await.unwrap(), expected);
        }
    });
    futures::future::join_all(publishes).await;
}

#[tokio::test]
async fn a_preview_reaches_who_listens_to_its_session_and_nobody_else() {
    let scene = Scene::set().await;
    let (handler, mut received) = recorder(|_| Verdict::Done);
    let queue = scene.broker.own_queue("gateway");
    let (consuming, shutdown) = (queue.clone(), scene.shutdown.clone());
    tokio::spawn(async move { consuming.consume(64, 1, shutdown, handler).await });

    let (heard, unheard): (SessionId, SessionId) =
        (Id::from_uuid(Uuid::now_v7()), Id::from_uuid(Uuid::now_v7()));
    queue.bind(topology::PREVIEWS, &heard.uuid().to_string()).await.unwrap();
    for (session, text) in [(unheard, "no"), (heard, "one"), (heard, "two")] {
        let route = topology::previews_of(session);
        let preview = Outgoing::new(route, kind::PREVIEW, Uuid::now_v7(), text.into()).transient();
        scene.broker.publish_transient(preview).await.unwrap();
    }

    assert_eq!(word(&next(&mut received).await), "one");
    assert_eq!(word(&next(&mut received).await), "two");
}
