module example/changes

go 1.21
