// Package check holds no code of the product: its tests assert that docker-compose.yml, Dockerfile and Procfile say
// what the product promises, on machines without a container engine.
package check
