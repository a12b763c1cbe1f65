//! The routes of the operators' API, with their OpenAPI descriptions: one table makes both.

use crate::{
    app::App,
    routes::{Endpoint, Methods, Routes, get, post},
};
use axum::extract::FromRequest;
use lenticular_model::error::{Error, Result};
use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

/// A route: a method on a path.
pub struct Route {
    path: &'static str,
    method: &'static str,
    handler: Methods<App>,
    operation: Value,
    schemas: Vec<(String, RefOr<Schema>)>,
}

impl Route {
    /// A read-only route. The id names the operation in the document.
    pub fn get<M: 'static, T: FromRequest<App, M> + Send + 'static>(
        id: &str,
        path: &'static str,
        handler: impl Endpoint<T>,
    ) -> Self {
        Self::new(id, path, "get", get(handler))
    }

    /// A route with effects.
    pub fn post<M: 'static, T: FromRequest<App, M> + Send + 'static>(
        id: &str,
        path: &'static str,
        handler: impl Endpoint<T>,
    ) -> Self {
        Self::new(id, path, "post", post(handler))
    }

    fn new(id: &str, path: &'static str, method: &'static str, handler: Methods<App>) -> Self {
        let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameter =
            |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
        let operation = json!({
            "operationId": id,
            "parameters": names.map(parameter).collect::<Value>(),
            "responses": {"default": {"$ref": "#/components/responses/Refused"}},
        });
        Self { path, method, handler, operation, schemas: Vec::new() }
    }

    /// Adds a parameter in the query.
    pub fn query(mut self, name: &str, kind: &str, what: &str) -> Self {
        let parameter = json!({"name": name, "in": "query", "description": what, "schema": {"type": kind}});
        if let Some(parameters) = self.operation["parameters"].as_array_mut() {
            parameters.push(parameter);
        }
        self
    }

    /// Adds a request body.
    pub fn asks<T: ToSchema>(mut self) -> Self {
        let schema = self.schema::<T>();
        self.operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
        self
    }

    /// Answers with one object.
    pub fn answers<T: ToSchema>(mut self, status: u16, what: &str) -> Self {
        let schema = self.schema::<T>();
        self.response(status, what, &schema)
    }

    /// Answers with a list.
    pub fn lists<T: ToSchema>(mut self, what: &str) -> Self {
        let schema = self.schema::<T>();
        self.response(200, what, &json!({"type": "array", "items": schema}))
    }

    /// Answers every client, without a token, with an object.
    pub fn tells_everyone(mut self, what: &str) -> Self {
        self.operation["security"] = json!([]);
        self.response(200, what, &json!({"type": "object"}))
    }

    fn response(mut self, status: u16, what: &str, schema: &Value) -> Self {
        self.operation["summary"] = json!(what);
        self.operation["responses"][status.to_string()] =
            json!({"description": what, "content": {"application/json": {"schema": schema}}});
        self
    }

    /// Refers to a type's schema, and adds the schema to the document.
    fn schema<T: ToSchema>(&mut self) -> Value {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        json!({"$ref": format!("#/components/schemas/{}", T::name())})
    }
}

/// The router of the routes.
pub fn router(routes: Vec<Route>) -> Routes<App> {
    routes.into_iter().fold(Routes::new(), |router, route| router.route(route.path, route.handler))
}

/// The OpenAPI document of the routes.
///
/// # Errors
/// A schema is not valid JSON.
pub fn document(routes: Vec<Route>) -> Result<Value> {
    let (mut paths, mut schemas) = (json!({}), Map::new());
    schemas.insert("Error".to_owned(), error_schema());
    for route in routes {
        paths[route.path][route.method] = route.operation;
        for (name, schema) in route.schemas {
            schemas.insert(name, serde_json::to_value(schema).map_err(Error::internal)?);
        }
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lenticular, the operators' API",
            "description": "What OpenStack's APIs have no words for.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Refused": {
                "description": "The request was refused; the message says why and what to do.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }},
            "securitySchemes": {"token": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Auth-Token",
                "description": "A token of Keystone's API (POST /identity/v3/auth/tokens).",
            }},
        },
    }))
}

/// The schema of errors, in Keystone's format.
fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["code", "message", "title"],
            "properties": {
                "code": {"type": "integer", "description": "The status."},
                "message": {"type": "string", "description": "What happened, and what to do."},
                "title": {"type": "string", "description": "The status in words."},
            },
        }},
    })
}
