//! A cloud with one of every resource, made through the API.

use crate::cloud::{PASSWORD, TestCloud};
use axum::http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7qkq0vWkqUXCyMbGvZJFSbMbvUaIRvQb1Gq6yVXYtK ada@example";

/// A cloud, and the ids of its resources, by the names in braces in the tests' paths.
pub struct World {
    pub cloud: TestCloud,
    /// The token of a member of the project `lab`, without any other right.
    pub member: String,
    ids: BTreeMap<&'static str, String>,
}

impl World {
    /// A cloud with two hosts and one of every resource.
    pub async fn new() -> Self {
        let cloud = TestCloud::start(&["host-1", "host-2"]).await;
        let mut world = Self { cloud, member: String::new(), ids: BTreeMap::new() };
        world.fill_identity().await;
        world.fill_image().await;
        world.fill_networks().await;
        world.fill_routing().await;
        world.fill_sharing().await;
        world.fill_placing().await;
        world.fill_servers().await;
        world
    }

    /// A path with ids in place of the names in braces.
    pub fn path(&self, path: &str) -> String {
        let replace = |path: String, (name, id): (&&str, &String)| path.replace(&format!("{{{name}}}"), id);
        let path = self.ids.iter().fold(path.to_owned(), replace);
        assert!(!path.contains('{'), "{path} names what is not there");
        path
    }

    /// The id of the resource with this name.
    pub fn id(&self, name: &str) -> &str {
        &self.ids[name]
    }

    fn note(&mut self, name: &'static str, id: Option<&Value>) {
        let id = id.unwrap_or_else(|| panic!("{name} has no id"));
        self.ids.insert(name, id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    }

    /// A successful `POST`, at the highest version. Returns the answer's body.
    async fn post(&self, path: &str, body: Value) -> Value {
        self.cloud.call(Method::POST, self.path(path)).microversion("latest").json(&body).succeeds().await
    }

    /// A successful `PUT`.
    async fn put(&self, path: &str, body: Value) {
        self.cloud.call(Method::PUT, self.path(path)).json(&body).succeeds().await;
    }

    /// Creates a resource, and notes its id under this name. Without a key the body is the whole request.
    async fn make(&mut self, name: &'static str, path: &str, key: &str, body: Value) {
        let body = if key.is_empty() { body } else { json!({ key: body }) };
        let made = self.post(path, body).await;
        self.note(name, made.get(key).unwrap_or(&made).get("id"));
    }

    async fn network(&mut self, name: &'static str, path: &str, key: &str, body: Value) {
        self.make(name, &format!("/network/v2.0/{path}"), key, body).await;
    }

    /// Notes the id of an existing resource.
    async fn find(&mut self, name: &'static str, path: &str, pointer: &str) {
        let found = self.cloud.get(self.path(path)).microversion("latest").succeeds().await;
        self.note(name, found.pointer(pointer));
    }

    async fn fill_identity(&mut self) {
        self.make("domain", "/identity/v3/domains", "domain", json!({"name": "research"})).await;
        let project = json!({"name": "lab", "description": "The laboratory", "tags": ["blue"]});
        self.make("project", "/identity/v3/projects", "project", project).await;
        let user = json!({
            "name": "ada", "password": PASSWORD, "default_project_id": self.id("project"),
            "email": "ada@example",
        });
        self.make("user", "/identity/v3/users", "user", user).await;
        self.find("admin-project", "/identity/v3/projects?name=admin", "/projects/0/id").await;
        self.find("role", "/identity/v3/roles?name=member", "/roles/0/id").await;
        let grant = "/identity/v3/projects/{project}/users/{user}/roles/{role}";
        self.put(grant, Value::Null).await;
        self.member = self.cloud.login("ada", "lab").await;
        let group = json!({"name": "staff", "description": "Who works here"});
        self.make("group", "/identity/v3/groups", "group", group).await;
        self.put("/identity/v3/groups/{group}/users/{user}", Value::Null).await;
        self.put("/identity/v3/projects/{project}/groups/{group}/roles/{role}", Value::Null).await;
        self.find("reader", "/identity/v3/roles?name=reader", "/roles/0/id").await;
        let inherited =
            "/identity/v3/OS-INHERIT/domains/default/users/{user}/roles/{reader}/inherited_to_projects";
        self.put(inherited, Value::Null).await;
        self.make("custom", "/identity/v3/roles", "role", json!({"name": "operator"})).await;
        self.put("/identity/v3/roles/{custom}/implies/{reader}", Value::Null).await;
        let service = json!({"type": "dns", "name": "designate", "description": "Names"});
        self.make("service", "/identity/v3/services", "service", service).await;
        let endpoint = json!({
            "service_id": self.id("service"), "interface": "public", "region_id": "RegionOne",
            "url": "http://dns.example/v2/$(project_id)s",
        });
        self.make("endpoint", "/identity/v3/endpoints", "endpoint", endpoint).await;
        let region = json!({"id": "north", "description": "Cold", "parent_region_id": "RegionOne"});
        self.make("region", "/identity/v3/regions", "region", region).await;
        let credential = json!({"application_credential": {
            "name": "ci", "secret": "s3cret", "roles": [{"name": "reader"}],
            "access_rules": [{"service": "compute", "method": "GET", "path": "/v2.1/servers/*"}],
        }});
        let path = self.path("/identity/v3/users/{user}/application_credentials");
        let call = self.cloud.call(Method::POST, path).token(&self.member);
        let made = call.json(&credential).succeeds().await;
        self.note("application-credential", made.pointer("/application_credential/id"));
        self.note("access-rule", made.pointer("/application_credential/access_rules/0/id"));
    }

    async fn fill_image(&mut self) {
        let image = json!({
            "name": "debian", "disk_format": "raw", "container_format": "bare", "min_ram": 64, "tags": ["stable"],
            "os_distro": "debian",
        });
        self.make("image", "/image/v2/images", "", image).await;
        let file = "/image/v2/images/{image}/file";
        self.cloud.call(Method::PUT, self.path(file)).bytes(&[0; 4_096]).succeeds().await;
        let empty = json!({"name": "empty", "protected": true});
        self.make("empty-image", "/image/v2/images", "", empty).await;
        self.post("/image/v2/images/{image}/members", json!({"member": self.id("project")})).await;
    }

    async fn fill_networks(&mut self) {
        let network = json!({"name": "net", "description": "Where servers are", "mtu": 1_400});
        self.network("network", "networks", "network", network).await;
        let subnet = json!({
            "network_id": self.id("network"), "name": "subnet", "ip_version": 4, "cidr": "10.0.0.0/24",
            "dns_nameservers": ["192.0.2.53"], "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}],
        });
        self.network("subnet", "subnets", "subnet", subnet).await;
        let group = json!({"name": "web", "description": "Web servers"});
        self.network("security-group", "security-groups", "security_group", group).await;
        let rule = json!({
            "security_group_id": self.id("security-group"), "direction": "ingress", "ethertype": "IPv4",
            "protocol": "tcp", "port_range_min": 80, "port_range_max": 443, "remote_ip_prefix": "192.0.2.0/24",
        });
        self.network("security-group-rule", "security-group-rules", "security_group_rule", rule).await;
        let rules = "/network/v2.0/default-security-group-rules";
        self.find("default-rule", rules, "/default_security_group_rules/0/id").await;
        let port = json!({
            "network_id": self.id("network"), "name": "port", "fixed_ips": [{"ip_address": "10.0.0.20"}],
            "security_groups": [self.id("security-group")],
            "allowed_address_pairs": [{"ip_address": "10.0.0.200"}],
            "extra_dhcp_opts": [{"opt_name": "domain-name", "opt_value": "example"}],
        });
        self.network("port", "ports", "port", port).await;
    }

    async fn fill_routing(&mut self) {
        let public = json!({
            "name": "public", "router:external": true, "provider:network_type": "flat",
            "provider:physical_network": "external",
        });
        self.network("public", "networks", "network", public).await;
        let subnet = json!({
            "network_id": self.id("public"), "ip_version": 4, "cidr": "203.0.113.0/24", "enable_dhcp": false,
        });
        self.network("public-subnet", "subnets", "subnet", subnet).await;
        let router = json!({
            "name": "router", "external_gateway_info": {
                "network_id": self.id("public"), "external_fixed_ips": [{"ip_address": "203.0.113.10"}],
            },
        });
        self.network("router", "routers", "router", router).await;
        let interface = "/network/v2.0/routers/{router}/add_router_interface";
        self.put(interface, json!({"subnet_id": self.id("subnet")})).await;
        for (name, address) in [("floating-ip", "203.0.113.20"), ("forwarding-ip", "203.0.113.21")] {
            let floating = json!({"floating_network_id": self.id("public"), "floating_ip_address": address});
            self.network(name, "floatingips", "floatingip", floating).await;
        }
        let port = json!({"floatingip": {"port_id": self.id("port")}});
        self.put("/network/v2.0/floatingips/{floating-ip}", port).await;
        for (name, address) in
            [("inner-port", "10.0.0.21"), ("trunk-parent", "10.0.0.22"), ("sub-port", "10.0.0.23")]
        {
            let port = json!({"network_id": self.id("network"), "fixed_ips": [{"ip_address": address}]});
            self.network(name, "ports", "port", port).await;
        }
        let forwarding = json!({
            "internal_port_id": self.id("inner-port"), "internal_ip_address": "10.0.0.21", "internal_port": 22,
            "external_port": 2_222, "protocol": "tcp", "description": "ssh",
        });
        let path = "floatingips/{forwarding-ip}/port_forwardings";
        self.network("port-forwarding", path, "port_forwarding", forwarding).await;
        let trunk = json!({"name": "trunk", "port_id": self.id("trunk-parent"), "sub_ports": [
            {"port_id": self.id("sub-port"), "segmentation_type": "vlan", "segmentation_id": 7},
        ]});
        self.network("trunk", "trunks", "trunk", trunk).await;
    }

    async fn fill_sharing(&mut self) {
        let scope = json!({"name": "scope", "ip_version": 4});
        self.network("address-scope", "address-scopes", "address_scope", scope).await;
        let pool = json!({
            "name": "pool", "prefixes": ["10.64.0.0/16"], "default_prefixlen": 24, "min_prefixlen": 20,
            "max_prefixlen": 28, "address_scope_id": self.id("address-scope"),
        });
        self.network("subnet-pool", "subnetpools", "subnetpool", pool).await;
        let group = json!({"name": "offices", "addresses": ["192.0.2.0/28", "198.51.100.7/32"]});
        self.network("address-group", "address-groups", "address_group", group).await;
        let rbac = json!({
            "object_type": "network", "object_id": self.id("network"), "action": "access_as_shared",
            "target_tenant": self.id("project"),
        });
        self.network("rbac-policy", "rbac-policies", "rbac_policy", rbac).await;
        self.network("qos-policy", "qos/policies", "policy", json!({"name": "slow"})).await;
        for (name, key, body) in [
            (
                "bandwidth-limit-rule",
                "bandwidth_limit_rule",
                json!({"max_kbps": 2_000, "max_burst_kbps": 99}),
            ),
            ("dscp-marking-rule", "dscp_marking_rule", json!({"dscp_mark": 26})),
            ("minimum-bandwidth-rule", "minimum_bandwidth_rule", json!({"min_kbps": 77})),
        ] {
            self.network(name, &format!("qos/policies/{{qos-policy}}/{key}s"), key, body).await;
        }
    }

    async fn fill_placing(&mut self) {
        let flavor = json!({
            "id": "big", "name": "big", "vcpus": 2, "ram": 1_024, "disk": 10, "description": "More than most need",
            "OS-FLV-EXT-DATA:ephemeral": 0, "swap": 0,
        });
        self.make("flavor", "/compute/v2.1/flavors", "flavor", flavor).await;
        let specs = "/compute/v2.1/flavors/{flavor}/os-extra_specs";
        self.post(specs, json!({"extra_specs": {"hw:cpu_policy": "shared"}})).await;
        let aggregate = json!({"name": "rack-1", "availability_zone": "nova"});
        self.make("aggregate", "/compute/v2.1/os-aggregates", "aggregate", aggregate).await;
        let act = "/compute/v2.1/os-aggregates/{aggregate}/action";
        self.post(act, json!({"add_host": {"host": "host-1"}})).await;
        self.post(act, json!({"set_metadata": {"metadata": {"rack": "1"}}})).await;
        let group = json!({"name": "apart", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}});
        self.make("server-group", "/compute/v2.1/os-server-groups", "server_group", group).await;
        let key = json!({"keypair": {"name": "ada", "type": "ssh", "public_key": PUBLIC_KEY}});
        self.post("/compute/v2.1/os-keypairs", key).await;
        let (first, second) = (self.cloud.host_id("host-1"), self.cloud.host_id("host-2"));
        self.ids.extend([("host-1", first), ("host-2", second)]);
    }

    async fn fill_servers(&mut self) {
        let server = |name: &str, flavor: &str, address: &str| {
            json!({
                "name": name, "flavorRef": flavor, "imageRef": self.id("image"),
                "networks": [{"uuid": self.id("network"), "fixed_ip": address}],
            })
        };
        let (mut web, huge) = (server("web", "big", "10.0.0.30"), server("huge", "huge", "10.0.0.31"));
        let (moved, moving) = (server("moved", "42", "10.0.0.32"), server("moving", "42", "10.0.0.33"));
        web["key_name"] = json!("ada");
        web["description"] = json!("Says hello");
        web["metadata"] = json!({"purpose": "test"});
        web["tags"] = json!(["blue"]);
        web["security_groups"] = json!([{"name": "default"}]);
        let request = json!({"server": web, "os:scheduler_hints": {"group": self.id("server-group")}});
        let made = self.post("/compute/v2.1/servers", request).await;
        self.note("server", made.pointer("/server/id"));
        let actions = "/compute/v2.1/servers/{server}/os-instance-actions";
        self.find("request", actions, "/instanceActions/0/request_id").await;
        let ports = "/network/v2.0/ports?device_id={server}";
        self.find("server-port", ports, "/ports/0/id").await;
        // More memory than any host has.
        let flavor = json!({"id": "huge", "name": "huge", "vcpus": 1, "ram": 524_288, "disk": 1});
        self.make("huge-flavor", "/compute/v2.1/flavors", "flavor", flavor).await;
        self.make("huge", "/compute/v2.1/servers", "server", huge).await;
        self.make("moved", "/compute/v2.1/servers", "server", moved).await;
        self.make("moving", "/compute/v2.1/servers", "server", moving).await;
        self.cloud.run_hosts().await;
        self.cloud.tick();
        let act = |name| format!("/compute/v2.1/servers/{{{name}}}/action");
        self.post(&act("moved"), json!({"migrate": null})).await;
        self.cloud.run_hosts().await;
        self.cloud.tick();
        self.post(&act("moved"), json!({"confirmResize": null})).await;
        // This migration stays in progress: the hosts do nothing about it.
        let live = json!({"os-migrateLive": {"host": null, "block_migration": "auto"}});
        self.post(&act("moving"), live).await;
        self.find("migration", "/compute/v2.1/servers/{moving}/migrations", "/migrations/0/id").await;
    }
}
