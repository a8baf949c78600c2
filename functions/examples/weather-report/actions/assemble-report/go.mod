module example.com/assemble-report

go 1.22
