//! What refers to an image.

use hyper::header::LINK;

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn named(digests: &[&str]) -> String {
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let named = |digest: &&str| json!({"mediaType": kind, "digest": digest, "size": 1});
    let all: Vec<Value> = digests.iter().map(named).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all}).to_string()
}

impl Case {
    async fn copy_with_referrers(&self) -> Copied {
        let copy = Copy {
            source: self.place(&self.from, "app"),
            target: self.place(&self.to, "app"),
            reference: "1".into(),
            tag: Some("1".into()),
            referrers: true,
        };
        copy.run(Arc::default()).await.unwrap()
    }

    /// What the target has written down of what refers to an image.
    fn noted(&self, image: &str) -> Option<String> {
        let key = ("app".to_owned(), image.replace(':', "-"));
        let inner = self.target.lock();
        let (_, index) = inner.manifests.get(&key)?;
        Some(String::from_utf8_lossy(index).into_owned())
    }
}

#[tokio::test]
async fn referrers_come_along_by_whatever_way_the_registries_know_and_the_tag_comes_last() {
    let case = Case::new().await;
    let image = case.source.has("app", "1", &[b"layer"]);
    let signature = case.source.has("app", "unused", &[b"signature"]);
    let fallback = image.replace(':', "-");
    case.source.put("app", &fallback, INDEX, named(&[&signature]));
    case.source.has("app", &format!("{fallback}.sig"), &[b"cosign"]);
    assert_eq!(case.copy_with_referrers().await.referrers, 2);
    let asked = case.to.asked();
    let puts: Vec<_> = asked
        .iter()
        .map(|(what, _)| what)
        .filter(|what| what.starts_with("PUT /v2/app/manifests/"))
        .collect();
    let names = [&*image, &signature, &fallback, &format!("{fallback}.sig"), "1"];
    assert_eq!(
        puts,
        names.map(|name| format!("PUT /v2/app/manifests/{name}")).each_ref()
    );
    assert!(case.noted(&image).unwrap().contains(&signature));
}

#[tokio::test]
async fn a_referrer_that_somebody_brought_who_did_not_come_to_writing_it_down_is_written_down() {
    for knows in [false, true] {
        let case = Case::new().await;
        let image = case.source.has("app", "1", &[b"layer"]);
        let [one, two] = [b"one", b"two"].map(|layer| case.source.has("app", "unused", &[layer]));
        case.source
            .put("app", &image.replace(':', "-"), INDEX, named(&[&one, &two]));
        // It has this one, and says of none that it keeps them.
        case.target.has("app", "unused", &[b"one"]);
        if knows {
            case.target
                .always(Method::GET, "/referrers/", || named(&[]).into_response());
        }
        case.copy_with_referrers().await;
        let noted = case.noted(&image).unwrap();
        assert_eq!((noted.contains(&one), noted.contains(&two)), (!knows, true));
        drop(case.to.asked());
        case.copy_with_referrers().await;
        let asked = case.to.asked();
        assert!(asked.iter().all(|(what, _)| !what.starts_with("PUT")), "{asked:?}");
    }
}

#[tokio::test]
async fn all_pages_of_referrers_are_read_and_none_of_another_host() {
    let case = Case::new().await;
    case.source.has("app", "1", &[b"layer"]);
    let [one, two] = [b"one", b"two"].map(|layer| case.source.has("app", "unused", &[layer]));
    let elsewhere = Memory::default();
    let other = elsewhere.serve().await;
    let foreign = format!("<http://127.0.0.1:{}/v2/app/referrers/x>; rel=\"next\"", other.port());
    for (digest, link) in [
        (one.clone(), "<?page=2>; rel=\"next\"".to_owned()),
        (two.clone(), foreign),
    ] {
        case.source.instead(Method::GET, "/referrers/", move || {
            ([(LINK, link.clone())], named(&[&digest])).into_response()
        });
    }
    assert_eq!(case.copy_with_referrers().await.referrers, 2);
    let inner = case.target.lock();
    for digest in [one, two] {
        assert!(inner.manifests.contains_key(&("app".to_owned(), digest)));
    }
    assert!(other.asked().is_empty());
}
