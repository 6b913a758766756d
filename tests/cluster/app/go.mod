module waypost.dev/tests/cluster/app

go 1.26.0
