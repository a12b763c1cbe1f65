//! The table of paths, methods and handlers. Handlers with the same arguments become one type, so that the compiler
//! builds axum's machinery once for each list of arguments and not for each handler.

use crate::fault::Handled;
use axum::{
    Router,
    extract::{FromRequest, Request},
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter},
};
use std::{future::Future, pin::Pin, sync::Arc};

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A handler with the arguments `T`.
pub struct Erased<T>(Arc<dyn Fn(T) -> Answer<Handled> + Send + Sync>);

impl<T> Clone for Erased<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M, T, S> Handler<(M, T), S> for Erased<T>
where
    M: 'static,
    T: FromRequest<S, M> + Send + 'static,
    S: Send + Sync + 'static,
{
    type Future = Answer<Response>;

    fn call(self, request: Request, state: S) -> Answer<Response> {
        Box::pin(async move {
            let arguments = match T::from_request(request, &state).await {
                Ok(arguments) => arguments,
                Err(refusal) => return refusal.into_response(),
            };
            (self.0)(arguments).await.into_response()
        })
    }
}

/// A function that can be a handler: async, with the arguments `T`.
pub trait Endpoint<T>: Send + Sync + 'static {
    /// The handler.
    fn erased(self) -> Erased<T>;
}

macro_rules! endpoint {
    ($($argument:ident)+) => {
        impl<F, A, $($argument),+> Endpoint<($($argument,)+)> for F
        where
            F: Fn($($argument),+) -> A + Send + Sync + 'static,
            A: Future<Output = Handled> + Send + 'static,
        {
            fn erased(self) -> Erased<($($argument,)+)> {
                #[expect(non_snake_case, reason = "a value and its type share a name")]
                Erased(Arc::new(move |($($argument,)+)| Box::pin(self($($argument),+))))
            }
        }
    };
}
endpoint!(A1);
endpoint!(A1 A2);
endpoint!(A1 A2 A3);
endpoint!(A1 A2 A3 A4);
endpoint!(A1 A2 A3 A4 A5);

/// The handlers of a path, by method.
pub struct Methods<S>(MethodRouter<S>);

impl<S: Clone> Default for Methods<S> {
    fn default() -> Self {
        Self(MethodRouter::new())
    }
}

macro_rules! methods {
    ($($name:ident $filter:ident)+) => {
        impl<S: Clone + Send + Sync + 'static> Methods<S> {
            $(
                #[doc = concat!("Adds a handler for ", stringify!($filter), ".")]
                pub fn $name<M: 'static, T: FromRequest<S, M> + Send + 'static>(
                    self,
                    handler: impl Endpoint<T>,
                ) -> Self {
                    Self(self.0.on(MethodFilter::$filter, handler.erased()))
                }
            )+
        }
    };
}
methods!(get GET post POST put PUT patch PATCH delete DELETE head HEAD);

macro_rules! first_method {
    ($($name:ident)+) => {
        $(
            #[doc = concat!("A path with a handler for the method `", stringify!($name), "`.")]
            pub fn $name<S, M, T>(handler: impl Endpoint<T>) -> Methods<S>
            where
                S: Clone + Send + Sync + 'static,
                M: 'static,
                T: FromRequest<S, M> + Send + 'static,
            {
                Methods::default().$name(handler)
            }
        )+
    };
}
first_method!(get post put delete);

/// Paths with their methods, on a state `S`.
pub struct Routes<S>(Router<S>);

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No path.
    pub fn new() -> Self {
        Self(Router::new())
    }

    /// Adds a path.
    pub fn route(self, path: &str, methods: Methods<S>) -> Self {
        Self(self.0.route(path, methods.0))
    }

    /// Adds other paths under a prefix.
    pub fn nest(self, prefix: &str, other: Self) -> Self {
        Self(self.0.nest(prefix, other.0))
    }

    /// Adds other paths.
    pub fn merge(self, other: Self) -> Self {
        Self(self.0.merge(other.0))
    }

    /// The router of the paths.
    pub fn into_router(self, state: S) -> Router {
        self.0.with_state(state)
    }
}
