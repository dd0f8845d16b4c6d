module github.com/catena-im/catena/scripts/tools

go 1.26.0
