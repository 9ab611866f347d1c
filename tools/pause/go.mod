module postern.dev/tools/pause

go 1.26.8
