//! A host for tests: the real agent's core. All its steps succeed at once.

use lenticular_agent::core::{Core, Outcome, Step, Taken};
use lenticular_api::App;
use lenticular_model::{
    HostId, ServerId,
    host::{
        evidence::{Evidence, NETWORK},
        fact::Facts,
        host::{Capacity, Hypervisor, Wiring},
    },
};
use lenticular_wire::agent::{OrdersQuery, Registration, Report, VERSION, Welcome};

/// A host.
pub struct TestHost {
    pub name: String,
    welcome: Welcome,
    reports: u64,
    core: Core,
}

/// A guest that a host hands over to another.
pub struct Handover {
    pub server: ServerId,
    pub from: String,
    pub to: String,
    generation: u64,
}

fn registration(name: &str, core: &mut Core) -> Registration {
    let (facts, evidence) = core.host.introduce();
    Registration {
        version: VERSION,
        host_name: name.to_owned(),
        zone: "nova".to_owned(),
        facts,
        evidence,
        incarnation: core.incarnation(),
        applied_upto: core.applied_upto(),
        receipt: core.receipt().map(str::to_owned),
        inventory: core.inventory(),
    }
}

/// The facts of a host for tests.
fn facts() -> Facts {
    let text = |text: &str| Some(text.to_owned());
    Facts {
        boot_id: text("boot-1"),
        address: text("192.0.2.1"),
        peer_address: text("192.0.2.1:9172"),
        capacity: Some(Capacity { vcpus: 8, memory_mb: 16_384, disk_gb: 200 }),
        hypervisor: Some(Hypervisor {
            driver: "sim".to_owned(),
            acceleration: "none".to_owned(),
            version: 1_000_000,
            arch: "x86_64".to_owned(),
            cpu_model: "simulated".to_owned(),
            wiring: Wiring { driver: "sim".to_owned(), ..Wiring::default() },
        }),
        kernel: text("6.1.0-test"),
        agent: text("0.1.0"),
        checked: None,
        canary: None,
        unreached: None,
        booted_at: Some(lenticular_model::Timestamp::default()),
        versions: Some([("kernel".to_owned(), "6.1.119-1".to_owned())].into()),
        package_format: None,
        packages: None,
        actions: Some(vec!["reboot".to_owned()]),
        action: None,
    }
}

/// The evidence of a healthy host.
fn evidence(trouble: Option<&str>) -> Vec<Evidence> {
    vec![Evidence::new(NETWORK, trouble.map(str::to_owned))]
}

impl TestHost {
    /// Registers a host without guests.
    pub async fn join(app: &App, name: &str) -> Self {
        let mut core = Core::new("boot-1".to_owned(), 8);
        core.host.measured(facts(), evidence(None));
        loop {
            let welcome =
                app.agent_register(registration(name, &mut core)).await.expect("the host is welcome");
            // A core that enters an incarnation of the store registers again.
            if !core.enter(welcome.incarnation) {
                return Self { name: name.to_owned(), welcome, reports: 0, core };
            }
        }
    }

    /// The host's id.
    pub fn id(&self) -> HostId {
        self.welcome.host_id
    }

    /// Takes the waiting orders, and begins and ends each step that follows. Returns the guests to hand over, and
    /// whether there was anything to do.
    pub async fn work(&mut self, app: &App) -> (Vec<Handover>, bool) {
        let (host, session, incarnation) = (self.id(), self.welcome.session, self.welcome.incarnation);
        let (after, receipt) = (self.core.applied_upto(), self.core.receipt().map(str::to_owned));
        let query = OrdersQuery { session, incarnation, after, wait_ms: 0, receipt };
        let orders = app.agent_orders(host, &query).await.expect("the host gets its orders");
        let mut is_busy = !orders.servers.is_empty();
        assert_eq!(self.core.apply(&orders), Taken::Applied);
        let mut handovers = Vec::new();
        loop {
            let steps = self.core.begin();
            if steps.is_empty() {
                break;
            }
            is_busy = true;
            for (server, step) in steps {
                match step {
                    Step::HandOver { to, generation } => {
                        let from = self.name.clone();
                        handovers.push(Handover { server, from, to: to.name, generation });
                    }
                    Step::Upload(..) => panic!("a host for tests has no disk to send"),
                    Step::Start(_) => self.core.done(server, Outcome::Started(Default::default())),
                    _ => self.core.done(server, Outcome::Done),
                }
            }
        }
        (handovers, self.report(app).await || is_busy)
    }

    /// Reports what the control plane does not know yet. False if there is nothing to report.
    async fn report(&mut self, app: &App) -> bool {
        let guests = self.core.pending_reports();
        let (facts, evidence) = self.core.host.news();
        if guests.is_empty() && facts.is_empty() && evidence.is_empty() {
            return false;
        }
        self.reports += 1;
        let report = Report {
            session: self.welcome.session,
            number: self.reports,
            incarnation: self.welcome.incarnation,
            guests: guests.clone(),
            host: facts.clone(),
            evidence: evidence.clone(),
            progress: Vec::new(),
        };
        app.agent_report(self.id(), report).await.expect("the report is taken");
        self.core.reported(&guests);
        self.core.host.told(&facts, &evidence);
        true
    }

    /// Accepts a guest that another host has released.
    pub fn accept(&mut self, handover: &Handover) {
        assert!(self.core.released(handover.server, handover.generation, &handover.from));
    }

    /// Notes that the other host has accepted the guest.
    pub fn handed_over(&mut self, handover: &Handover) {
        self.core.done(handover.server, Outcome::Done);
    }
}
