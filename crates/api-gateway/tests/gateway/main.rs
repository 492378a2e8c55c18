//! The whole gateway against the real PostgreSQL and RabbitMQ. session-service and LiteLLM are fakes, and named so.

#[cfg(test)]
mod agents;
#[cfg(test)]
mod approvals;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod definitions;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod egress;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod events;
#[cfg(test)]
mod forks;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod sandboxes;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod simple;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod teams;
#[cfg(test)]
mod variables;
#[cfg(test)]
mod vaults;
