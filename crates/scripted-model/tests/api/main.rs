//! The running server, asked over HTTP as an agent asks it.

#[cfg(test)]
mod chat;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod responses;
#[cfg(test)]
mod server;
