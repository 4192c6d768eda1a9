//! Images as the node's status lists them, so that the scheduler may prefer a node that need not pull (Kubernetes v1.36
//! `pkg/kubelet/nodestatus`, `Images`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::ContainerImage;

use crate::edged::context::Context;
use crate::edged::runtime::{Image, RuntimeError};

/// Names that are told of one image.
const MOST_NAMES: usize = 5;

/// Whether the status is to list any.
pub(super) fn wanted(ctx: &Context) -> bool {
    ctx.settings.listed_images != Some(0)
}

/// Asks the runtime and tells.
pub(super) async fn look(ctx: &Context) -> Result<(), RuntimeError> {
    if wanted(ctx) {
        tell(ctx, &ctx.runtime.images().await?);
    }
    Ok(())
}

/// Tells of these images, if the status did not list them so.
pub(super) fn tell(ctx: &Context, images: &[Image]) {
    let list = list(images, ctx.settings.listed_images);
    ctx.listed_images.send_if_modified(|told| {
        let differs = told.as_deref() != Some(&list);
        if differs {
            *told = Some(Arc::new(list));
        }
        differs
    });
}

/// The largest first, at most so many.
fn list(images: &[Image], most: Option<usize>) -> Vec<ContainerImage> {
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by(|a, b| (b.size, &b.id).cmp(&(a.size, &a.id)));
    sorted.truncate(most.unwrap_or(usize::MAX));
    let row = |image: &Image| ContainerImage {
        names: Some(image.digests.iter().chain(&image.tags).take(MOST_NAMES).cloned().collect()),
        size_bytes: Some(i64::try_from(image.size).unwrap_or(i64::MAX)),
    };
    sorted.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, size: u64, tags: usize) -> Image {
        Image {
            id: id.to_owned(),
            size,
            digests: vec![format!("{id}@sha256:1")],
            tags: (0..tags).map(|tag| format!("{id}:{tag}")).collect(),
            ..Image::default()
        }
    }

    #[test]
    fn the_largest_come_first_with_five_names_at_most_and_digests_before_tags() {
        let images = [image("small", 1, 1), image("large", 9, 7), image("middle", 5, 0)];
        let all = list(&images, None);
        let sizes: Vec<_> = all.iter().map(|image| image.size_bytes).collect();
        assert_eq!(sizes, [Some(9), Some(5), Some(1)]);
        let names = all[0].names.clone().unwrap();
        assert_eq!(names, ["large@sha256:1", "large:0", "large:1", "large:2", "large:3"]);
        assert_eq!(list(&images, Some(2)).len(), 2);
        assert_eq!(list(&images, Some(0)), []);
    }
}
