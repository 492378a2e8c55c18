module local/test-node/pause

go 1.24.0
