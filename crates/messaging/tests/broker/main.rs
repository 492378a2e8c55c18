//! The broker side against a real RabbitMQ, a virtual host for each test.

#![cfg(test)]

mod commands;
mod interruption;
mod publishing;
mod relay;
mod scene;
