//! Commands: their answers, their repetition, their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use platform_messaging::topology::{EGRESS_COMMANDS, Queue, SESSION_COMMANDS, kind};
use platform_messaging::{RequestError, Verdict};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::scene::{PATIENCE, Scene, command, next, recorder, word};

#[tokio::test]
async fn each_of_many_requests_gets_its_own_answer() {
    let scene = Scene::set().await;
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(async move {
        let echo = |incoming: platform_messaging::Incoming| async move {
            Verdict::Answer(incoming.body.to_vec())
        };
        broker.consume(Queue::SESSION_COMMANDS, 32, 32, shutdown, echo).await;
    });

    let requests = (0..200_u32).map(|number| {
        let broker = scene.broker.clone();
        async move {
            let body = number.to_be_bytes().to_vec();
            let kind = kind::SESSION_COMMAND;
            let id = Uuid::now_v7();
            let answer = broker.request(SESSION_COMMANDS, kind, id, body.clone(), PATIENCE).await;
            assert_eq!(answer.unwrap(), body);
        }
    });
    futures::future::join_all(requests).await;
}

#[tokio::test]
async fn a_request_that_a_frozen_consumer_holds_is_answered_by_another() {
    let scene = Scene::set().await;
    let (taken, mut is_taken) = tokio::sync::mpsc::unbounded_channel();
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(async move {
        let frozen = move |incoming: platform_messaging::Incoming| {
            taken.send(incoming.message_id).unwrap();
            std::future::pending()
        };
        broker.consume(Queue::SESSION_COMMANDS, 1, 1, shutdown, frozen).await;
    });
    let (broker, id) = (scene.broker.clone(), Uuid::now_v7());
    let asking = tokio::spawn(async move {
        let body = b"open".to_vec();
        broker.request(SESSION_COMMANDS, kind::SESSION_COMMAND, id, body, PATIENCE).await
    });
    assert_eq!(is_taken.recv().await.unwrap(), id.to_string());
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(async move {
        let answer = |incoming: platform_messaging::Incoming| async move {
            Verdict::Answer(incoming.message_id.into_bytes())
        };
        broker.consume(Queue::SESSION_COMMANDS, 1, 1, shutdown, answer).await;
    });
    assert_eq!(asking.await.unwrap().unwrap(), id.to_string().into_bytes());
}

#[tokio::test]
async fn a_request_that_nobody_answers_times_out_and_stays_in_the_queue() {
    let scene = Scene::set().await;
    let patience = Duration::from_millis(200);
    let id = Uuid::now_v7();
    let asked = scene
        .broker
        .request(EGRESS_COMMANDS, kind::EGRESS_COMMAND, id, b"open".to_vec(), patience)
        .await;
    assert!(matches!(asked, Err(RequestError::TimedOut)), "{asked:?}");

    let (handler, mut received) = recorder(|_| Verdict::Done);
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(
        async move { broker.consume(Queue::EGRESS_COMMANDS, 1, 1, shutdown, handler).await },
    );
    assert_eq!(next(&mut received).await.message_id, id.to_string());
}

#[tokio::test]
async fn a_message_to_be_tried_again_does_not_hold_up_the_others() {
    let scene = Scene::set().await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let (handler, mut received) = recorder(move |incoming| match word(incoming).as_str() {
        "hard" if counted.fetch_add(1, Ordering::Relaxed) < 3 => Verdict::Retry,
        _ => Verdict::Done,
    });
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(
        async move { broker.consume(Queue::SESSION_COMMANDS, 4, 1, shutdown, handler).await },
    );
    for name in ["hard", "easy"] {
        scene.broker.publish(command(name)).await.unwrap();
    }

    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(word(&next(&mut received).await));
    }
    assert_eq!(order, ["hard", "easy", "hard", "hard", "hard"]);
    assert_eq!(attempts.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn what_can_never_be_carried_out_goes_to_the_dead_letters() {
    let scene = Scene::set().await;
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    let (refuse, _) = recorder(|_| Verdict::DeadLetter);
    tokio::spawn(
        async move { broker.consume(Queue::SESSION_COMMANDS, 1, 1, shutdown, refuse).await },
    );
    let (keep, mut dead) = recorder(|_| Verdict::Done);
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(async move { broker.consume(Queue::DEAD_LETTERS, 1, 1, shutdown, keep).await });

    scene.broker.publish(command("nonsense")).await.unwrap();
    assert_eq!(word(&next(&mut dead).await), "nonsense");
}

#[tokio::test]
async fn a_handler_that_panics_is_asked_again() {
    let scene = Scene::set().await;
    let attempts = AtomicUsize::new(0);
    let (handler, mut received) = recorder(|_| Verdict::Done);
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    tokio::spawn(async move {
        let panicking = move |incoming| {
            assert!(attempts.fetch_add(1, Ordering::Relaxed) > 0, "the first attempt panics");
            handler(incoming)
        };
        broker.consume(Queue::SESSION_COMMANDS, 1, 1, shutdown, panicking).await;
    });
    scene.broker.publish(command("open")).await.unwrap();
    assert_eq!(word(&next(&mut received).await), "open");
}

#[tokio::test]
async fn at_the_end_what_is_in_hand_is_finished_and_the_rest_stays_in_the_queue() {
    let scene = Scene::set().await;
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let may_finish = Arc::new(Notify::new());
    let finish = may_finish.clone();
    let (broker, shutdown) = (scene.broker.clone(), scene.shutdown.clone());
    let consuming = tokio::spawn(async move {
        let slow = move |incoming| {
            let (begun, finish) = (begun.clone(), finish.clone());
            async move {
                begun.send(word(&incoming)).unwrap();
                finish.notified().await;
                Verdict::Done
            }
        };
        broker.consume(Queue::SESSION_COMMANDS, 8, 1, shutdown, slow).await;
    });
    for name in ["first", "second"] {
        scene.broker.publish(command(name)).await.unwrap();
    }
    assert_eq!(next(&mut has_begun).await, "first");
    scene.shutdown.cancel();
    may_finish.notify_one();
    consuming.await.unwrap();

    let (handler, mut received) = recorder(|_| Verdict::Done);
    let (broker, successor) = (scene.broker.clone(), tokio_util::sync::CancellationToken::new());
    let _end = successor.clone().drop_guard();
    tokio::spawn(
        async move { broker.consume(Queue::SESSION_COMMANDS, 8, 1, successor, handler).await },
    );
    assert_eq!(word(&next(&mut received).await), "second");
}
