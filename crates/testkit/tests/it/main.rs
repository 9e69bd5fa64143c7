//! The whole product, tested over its sockets; one module per noun.

mod auth;
