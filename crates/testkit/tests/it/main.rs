//! The whole product, tested over its sockets; one module per noun.

mod access;
mod auth;
mod domains;
mod http;
mod keys;
mod states;
mod users;
