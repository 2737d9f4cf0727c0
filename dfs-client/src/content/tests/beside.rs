//! Files that are fetched before they are read.

use super::rig::{Rig, run};
use dfs_core::Ino;

/// A client that knows the attributes of these files, which hold their number as text.
async fn with_files(inos: &[u64]) -> Rig {
    let rig = Rig::new().await;
    for ino in inos {
        rig.fake.lock().put(*ino, ino.to_string().as_bytes());
        let attr = rig.fake.lock().attr(*ino);
        let mark = rig.fake.lock().mark();
        let metadata = &rig.client.metadata;
        metadata.store_attr(metadata.asked(), &mark, attr);
    }
    rig
}

#[test]
fn files_fetched_together_cost_few_calls_and_reading_them_none() {
    run(async {
        let all: Vec<u64> = (100..110).collect();
        let rig = with_files(&all).await;
        rig.fake.lock().fit = 4;
        rig.fake.lock().files.remove(&103);
        let begun = rig.calls();
        rig.content.fetch_all(all.iter().copied().map(Ino).collect()).await.unwrap();
        let asked = rig.fake.lock().asked_together.clone();
        assert_eq!(asked, [&all[..], &all[4..], &all[8..]], "what did not fit is asked for again");
        assert_eq!(rig.calls() - begun, 3, "{:?}", rig.client.rpc.counts());
        for ino in all.iter().filter(|ino| **ino != 103) {
            let fh = rig.open(*ino, "r").await;
            assert_eq!(rig.content.read(fh, 0, 10).await.unwrap(), ino.to_string().as_bytes());
        }
        assert_eq!(rig.calls() - begun, 3, "{:?}", rig.client.rpc.counts());
    });
}

#[test]
fn file_that_is_opened_while_it_is_fetched_is_fetched_once() {
    run(async {
        let rig = with_files(&[100, 101]).await;
        rig.fake.lock().fit = 2;
        let begun = rig.calls();
        let fetch = rig.content.fetch_all(vec![Ino(100), Ino(101)]);
        let read = async {
            let fh = rig.open(101, "r").await;
            rig.content.read(fh, 0, 10).await.unwrap()
        };
        let (fetched, read) = tokio::join!(fetch, read);
        fetched.unwrap();
        assert_eq!((read, rig.calls() - begun), (b"101".to_vec(), 1));
    });
}

#[test]
fn answer_without_contents_ends_the_fetch() {
    run(async {
        let rig = with_files(&[100]).await;
        assert!(rig.content.fetch_all(vec![Ino(100)]).await.is_err());
        let fh = rig.open(100, "r").await;
        assert_eq!(rig.content.read(fh, 0, 10).await.unwrap(), b"100", "nobody waits for it");
    });
}
