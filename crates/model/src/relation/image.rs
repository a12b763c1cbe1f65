//! Images and flavors in order and by name.

use crate::{compute::flavor::Flavor, image::Image, State};
use std::sync::Arc;

impl State {
    /// All images, newest first as Glance lists them.
    pub fn images_newest_first(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.index.image_order.iter().filter_map(|(_, id)| self.images.get(&id.0))
    }

    /// The flavor with this name.
    pub fn flavor_named(&self, name: &str) -> Option<&Arc<Flavor>> {
        self.flavors.get(self.index.flavor_names.get(name)?)
    }
}
