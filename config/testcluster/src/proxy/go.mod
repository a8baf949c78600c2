module testcluster/proxy

go 1.26.0
