//! What a server agrees on with older, newer and more demanding clients.

mod harness;

use dfs_proto::v1::*;
use harness::{Client, Running, hello, run};

const ID: ([u8; 16], [u8; 16]) = ([9; 16], [9; 16]);

async fn establish(server: &Running, hello: EstablishReq) -> EstablishRep {
    let mut client = Client::connect(server, 1).await;
    client.session.establish(hello).await.unwrap().into_inner()
}

#[test]
fn peer_without_a_common_protocol_number_is_refused_with_both_ranges() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        for (min, max, shown) in [(0, 0, "0"), (1000, 2000, "1000 to 2000"), (5, 1, "5 to 1")] {
            let wrong = EstablishReq { min_protocol: min, max_protocol: max, ..hello(ID) };
            let refused = establish(&server, wrong).await.fail.unwrap();
            assert_eq!(refused.code(), ErrorCode::TooOld);
            let text = format!("the peer speaks protocol {shown}, this side 1");
            assert_eq!(refused.text, text);
        }
    });
}

#[test]
fn newer_client_gets_the_protocol_and_the_features_both_know() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let offered = ["of-the-future", "trim"].map(String::from).to_vec();
        let newer = EstablishReq { max_protocol: 7, features: offered, ..hello(ID) };
        let agreed = establish(&server, newer).await;
        assert_eq!((agreed.fail, agreed.protocol), (None, 1));
        assert_eq!(agreed.features, ["trim"]);
        let plain = establish(&server, hello(ID)).await;
        assert_eq!((plain.fail, plain.features), (None, Vec::new()));
    });
}

#[test]
fn client_that_needs_what_the_server_lacks_is_refused_by_name() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let server = Running::start(dir.path()).await;
        let needs = |names: &[&str]| {
            let required = names.iter().map(|name| name.to_string()).collect();
            EstablishReq { required, ..hello(ID) }
        };
        assert_eq!(establish(&server, needs(&["trim"])).await.fail, None);
        let refused = establish(&server, needs(&["trim", "time-travel"])).await.fail.unwrap();
        assert_eq!(refused.code(), ErrorCode::TooOld);
        assert_eq!(refused.text, "the required feature \"time-travel\" is missing");
    });
}
