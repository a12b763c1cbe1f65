//! The machine that an image's properties ask for, under their newer and older names.

use lenticular_model::{host::host::Hypervisor, image::Image};

/// The value of a property, under the first of these names that the image has.
fn property<'i>(image: &'i Image, names: &[&str]) -> Option<&'i str> {
    names.iter().find_map(|name| image.properties.get(*name)).map(String::as_str).filter(|v| !v.is_empty())
}

/// One name for each architecture.
fn arch_name(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "amd64" | "x64" => "x86_64".to_owned(),
        "x86" | "i386" | "i486" | "i586" => "i686".to_owned(),
        "arm64" => "aarch64".to_owned(),
        other => other.to_owned(),
    }
}

/// Whether a host can run guests of an architecture.
pub(super) fn check_arch(host: &Hypervisor, wanted: &str) -> Result<(), String> {
    let (has, wants) = (arch_name(&host.arch), arch_name(wanted));
    // Every x86_64 runs i686 guests.
    if has == wants || (has == "x86_64" && wants == "i686") {
        return Ok(());
    }
    Err(format!("is {}, the image needs {wanted}", host.arch))
}

/// Whether a host's hypervisor fits an image's properties.
pub(super) fn check(host: &Hypervisor, image: &Image) -> Result<(), String> {
    if let Some(arch) = property(image, &["hw_architecture", "architecture"]) {
        check_arch(host, arch)?;
    }
    if let Some(kind) = property(image, &["img_hv_type", "hypervisor_type"]) {
        let wanted = kind.to_ascii_lowercase();
        let is = match (host.driver.as_str(), host.acceleration.as_str()) {
            ("qemu", "kvm") => matches!(wanted.as_str(), "kvm" | "qemu"),
            ("qemu", _) => wanted == "qemu",
            // A simulated hypervisor fits every type.
            _ => matches!(wanted.as_str(), "kvm" | "qemu" | "fake"),
        };
        if !is {
            return Err(format!(
                "runs {} with {}, the image needs the hypervisor {kind}",
                host.driver, host.acceleration
            ));
        }
    }
    match property(image, &["hw_vm_mode", "vm_mode"]) {
        Some(mode) if !matches!(mode.to_ascii_lowercase().as_str(), "hvm" | "hv") => {
            Err(format!("runs guests in the mode hvm, the image needs {mode}"))
        }
        _ => Ok(()),
    }
}
