"""What one step of training is made of: batches and views, stages, the step, averages, several processes."""
