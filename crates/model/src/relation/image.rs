//! Images and flavors in order and by name, and the servers whose disks images hold.

use crate::{
    ImageId, ImageMemberId, ProjectId, ServerId, State,
    compute::flavor::Flavor,
    image::{Image, ImageMember},
};
use std::sync::Arc;

impl State {
    /// All images, newest first as Glance lists them.
    pub fn images_newest_first(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.index.image_order.of((), None).filter_map(|id| self.images.get(&id))
    }

    /// The projects that an image is shared with.
    pub fn members_of_image(&self, image: ImageId) -> impl Iterator<Item = &Arc<ImageMember>> {
        let from = ImageMemberId::of(image, ProjectId::default());
        self.image_members.from(from).take_while(move |member| member.image_id == image)
    }

    /// The flavor with this name.
    pub fn flavor_named(&self, name: &str) -> Option<&Arc<Flavor>> {
        self.flavors.get(&self.index.flavor_names.get(name)?)
    }

    /// The shelved server whose disk an image holds. The image names the server: while the server is shelved, nobody
    /// changes the image.
    pub fn server_shelved_in(&self, image: ImageId) -> Option<ServerId> {
        let named = self.images.get(&image)?.properties.get("instance_uuid")?.parse().ok()?;
        let shelf = self.servers.get(&named)?.shelf.as_deref()?;
        (shelf.image_id() == image).then_some(named)
    }
}
